// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// A probe that fails for lack of a resource is repeated with the spare descriptor, one probe at a
// time, and the descriptor is reopened afterwards. Other errors are not repeated.
func TestSpareDescriptor(t *testing.T) {
	var s spareDescriptor
	short := fmt.Errorf("dialing: %w", os.NewSyscallError("socket", syscall.EMFILE))
	n := 0
	probe := func(err error) func() error {
		return func() error {
			if n++; n == 1 {
				return err
			}
			if held := s.probe(func() error { return short }); !errors.Is(held, syscall.EMFILE) {
				t.Errorf("a second probe got the spare: %v", held)
			}
			if _, err := s.file.Stat(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the spare descriptor is not free for the second probe: %v", err)
			}
			return nil
		}
	}
	if err := s.probe(probe(short)); err != nil || n != 2 {
		t.Errorf("%v after %d probes", err, n)
	}
	if _, err := s.file.Stat(); err != nil {
		t.Errorf("the descriptor is not reopened: %v", err)
	}
	n = 0
	refused := errors.New("refused")
	if err := s.probe(probe(refused)); err != refused || n != 1 {
		t.Errorf("%v after %d probes", err, n)
	}
}
