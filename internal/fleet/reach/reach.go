// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package reach tells whether the store of a fleet can be reached: the back-off and the circuit
// breaker of calls.
package reach

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// Call is a kind of call to the store. Each fails and backs off by itself.
type Call int

// The kinds of calls.
const (
	// Beat is a beat, and the opening of the store.
	Beat Call = iota
	// Push is a push of records.
	Push
	// Stream reads changes or all records.
	Stream
	calls // their number
)

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = time.Second
)

// Reach is whether the store can be reached: the circuit breaker before it. After a failure of
// any kind, no call but a beat is made until a beat has succeeded. Safe for concurrent use.
type Reach struct {
	mu     sync.Mutex
	fails  [calls]int       // in a row
	until  [calls]time.Time // end of the back-off
	probe  bool             // a beat must succeed first
	ever   bool             // a beat has succeeded once
	err    error            // the latest, while any fails
	since  time.Time        // of the first of the failures
	opened chan struct{}    // closed while calls may be made
}

// New returns one of a store that was not reached yet.
func New() *Reach { return &Reach{probe: true, opened: make(chan struct{})} }

// Backoff returns the wait after n failures in a row, with jitter.
func Backoff(n int) time.Duration {
	d := min(firstBackoff<<min(n-1, 10), lastBackoff)
	return d - rand.N(d/4)
}

// Record records the result of a call, and reports whether the store was lost or has returned
// with it.
func (r *Reach) Record(c Call, err error) (lost, returned bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.failing()
	if err != nil {
		r.fails[c]++
		r.until[c] = time.Now().Add(Backoff(r.fails[c]))
		if r.err = err; !before {
			r.since = time.Now()
		}
		if !r.probe {
			r.probe, r.opened = true, make(chan struct{})
		}
		return !before, false
	}
	r.fails[c], r.until[c] = 0, time.Time{}
	if c == Beat {
		if r.ever = true; r.probe {
			r.probe = false
			close(r.opened)
		}
	}
	if before && !r.failing() {
		r.err = nil
		return false, true
	}
	return false, false
}

// failing reports whether the latest call of any kind has failed. The caller holds the lock.
func (r *Reach) failing() bool { return r.fails != [calls]int{} }

// Wait returns how long to wait before the next call of a kind; open is false if a beat must
// succeed first.
func (r *Reach) Wait(c Call) (wait time.Duration, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, time.Until(r.until[c])), !r.probe
}

// Await waits until calls of a kind may be made, and reports whether ctx has not ended.
func (r *Reach) Await(ctx context.Context, c Call) bool {
	for {
		r.mu.Lock()
		opened := r.opened
		r.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return false
		}
		wait, open := r.Wait(c)
		switch {
		case wait > 0:
			Sleep(ctx, wait)
		case open:
			return ctx.Err() == nil
		}
	}
}

// Status returns the state for operators.
func (r *Reach) Status() (connected bool, since time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ever && !r.failing(), r.since, r.err
}

// Sleep returns after d, or when ctx ends. It returns at once if d is not above 0.
func Sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return // a timer that is due at once has crashed the race detector of Go 1.26 in virtual time
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

var errPanic = errors.New("panic in the store")

// Protect calls a method of a store, and makes an error of its panic.
func Protect(doing string, f func() error) (err error) {
	defer panics.Catch(doing, &err, func(p any) error { return fmt.Errorf("%w while %s: %v", errPanic, doing, p) })
	return f()
}
