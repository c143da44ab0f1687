// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"context"
	"sync"
	"time"
)

// Faults are the faults of a store or of the link to it. Safe for concurrent use. The zero value
// has none.
type Faults struct {
	mu      sync.Mutex
	err     error
	panics  bool
	delay   func() time.Duration
	stalled chan struct{} // closed when the stall ends; nil for none
}

// Fail makes calls return an error; nil ends that.
func (f *Faults) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Panic makes calls panic.
func (f *Faults) Panic(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panics = on
}

// Delay makes calls take as long as delay says; nil ends that.
func (f *Faults) Delay(delay func() time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = delay
}

// Stall makes calls wait until the stall or their context ends, like calls to a hung server or over
// a partitioned network.
func (f *Faults) Stall(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case on && f.stalled == nil:
		f.stalled = make(chan struct{})
	case !on && f.stalled != nil:
		close(f.stalled)
		f.stalled = nil
	}
}

// pass applies the stall, the delay and the panic to a call, and returns its error.
func (f *Faults) pass(ctx context.Context, first bool) error {
	f.mu.Lock()
	delay, stalled := f.delay, f.stalled
	f.mu.Unlock()
	if first && delay != nil {
		timer := time.NewTimer(delay())
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if stalled != nil {
		select {
		case <-stalled:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("fault of the store")
	}
	if f.err != nil {
		return f.err
	}
	return ctx.Err()
}
