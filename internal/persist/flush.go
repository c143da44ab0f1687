// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"fmt"
	"time"
)

// flushTimeout bounds how long an operation of the operator waits for the storage.
const flushTimeout = 2 * time.Second

// saving is one save. Its fields are set before done is closed, and are read-only after that.
type saving struct {
	done chan struct{}
	upTo int64   // the last flush request that it serves
	err  error   // why the state was not saved
	next *saving // the following save
}

// flush requests a save at once, and waits for it.
func (k *stateStore) flush() error {
	k.mu.Lock()
	k.asked++
	mine, s := k.asked, k.saving
	k.mu.Unlock()
	k.Wake()
	timeout := time.NewTimer(flushTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-s.done:
			if s.upTo >= mine {
				return s.err
			}
			s = s.next
		case <-timeout.C:
			return fmt.Errorf("no response from the storage within %v", flushTimeout)
		}
	}
}

// urgent returns the number of the last flush request, and whether any is still to be served.
func (k *stateStore) urgent() (upTo int64, any bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked, k.asked > k.served
}

func newSaving() *saving { return &saving{done: make(chan struct{})} }

// done wakes the callers of flush with the result of a save.
func (k *stateStore) done(upTo int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.saving
	k.served, k.saving = max(k.served, upTo), newSaving()
	s.upTo, s.err, s.next = upTo, err, k.saving
	close(s.done)
}
