// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package reach has the backoff and the circuit breaker of the calls to the store of a fleet.
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

// Call is a kind of call to the store. Each kind has its own backoff.
type Call int

// The kinds of calls.
const (
	// Beat is a beat, or the opening of the store.
	Beat Call = iota
	// Push is a push of records.
	Push
	// Stream is a read of changes or of all records.
	Stream
	calls // number of kinds
)

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = time.Second
)

// Reach is the circuit breaker of a store. After a failure of any call, only beats may be sent until one has
// succeeded. Safe for concurrent use.
type Reach struct {
	mu     sync.Mutex
	fails  [calls]int       // consecutive failures
	until  [calls]time.Time // end of the backoff
	probe  bool             // only beats are allowed
	ever   bool             // a beat has succeeded
	err    error            // latest error while calls fail; else nil
	since  time.Time        // first failure, while calls fail
	opened chan struct{}    // closed while all calls are allowed
}

// New returns the circuit breaker of a store that has not been reached yet.
func New() *Reach { return &Reach{probe: true, opened: make(chan struct{})} }

// Backoff returns the wait after n consecutive failures: 100ms, doubled up to 1s, minus up to a quarter at random.
func Backoff(n int) time.Duration {
	d := min(firstBackoff<<min(n-1, 10), lastBackoff)
	return d - rand.N(d/4)
}

// Record records the result of a call. lost reports that it is the first failure, and returned that
// all kinds of calls work again.
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

// failing reports whether the latest call of some kind has failed. The caller must hold the lock.
func (r *Reach) failing() bool { return r.fails != [calls]int{} }

// Wait returns how long to wait before the next call of this kind. open is false while only beats
// are allowed.
func (r *Reach) Wait(c Call) (wait time.Duration, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, time.Until(r.until[c])), !r.probe
}

// Await waits until calls of this kind are allowed. It returns false if ctx ends before.
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

// Status returns whether a beat has succeeded and no call fails; if calls fail, since when and the latest error.
func (r *Reach) Status() (connected bool, since time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ever && !r.failing(), r.since, r.err
}

// Sleep waits for d, or until ctx ends. It returns at once if d is 0 or negative.
func Sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return // a timer that is due at once may crash the race detector of Go 1.26 in virtual time
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

var errPanic = errors.New("panic in the store")

// Protect calls f, a method of a store, and returns an error if it panics. doing describes f in the
// error.
func Protect(doing string, f func() error) (err error) {
	defer panics.Catch(doing, &err, func(p any) error { return fmt.Errorf("%w while %s: %v", errPanic, doing, p) })
	return f()
}
