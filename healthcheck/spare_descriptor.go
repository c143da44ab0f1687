// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"os"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// spareDescriptor keeps a file descriptor in reserve for probes. With it, a process without free
// descriptors can still probe, one backend at a time. Safe for concurrent use.
type spareDescriptor struct {
	mu   sync.Mutex
	file *os.File // nil while it is in use or could not be opened
}

// descriptor is the spare descriptor of the process.
var descriptor spareDescriptor

// probe runs a probe, and repeats it with the spare descriptor if the machine lacked a
// resource.
func (s *spareDescriptor) probe(probe func() error) error {
	s.keep()
	err := probe()
	if err == nil || outlier.FailureOf(err) != outlier.Local || !s.mu.TryLock() {
		return err
	}
	defer s.mu.Unlock()
	if s.file == nil {
		return err
	}
	_ = s.file.Close()
	err = probe()
	s.file, _ = os.Open(os.DevNull)
	return err
}

// keep opens the descriptor, unless it is open or in use.
func (s *spareDescriptor) keep() {
	if s.mu.TryLock() {
		if s.file == nil {
			s.file, _ = os.Open(os.DevNull)
		}
		s.mu.Unlock()
	}
}
