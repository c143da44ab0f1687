// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"os"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// spareDescriptor is a file descriptor that is kept for a probe when there are no others. A
// process that has run out of them goes on to see who is up, one probe at a time.
// Safe for concurrent use.
type spareDescriptor struct {
	mu   sync.Mutex
	file *os.File // nil until there is one
}

// descriptor is the spare of this process.
var descriptor spareDescriptor

// probe probes, and again with the spare descriptor if the first time this machine
// lacked something.
func (s *spareDescriptor) probe(probe func() error) error {
	s.keep()
	err := probe()
	if err == nil || backend.FailureOf(err) != backend.Local || !s.mu.TryLock() {
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
