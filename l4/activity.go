// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// activity calls a function when no byte has passed for a time. note costs one atomic write; there is one
// timer, and none without a limit. Safe for concurrent use after start.
type activity struct {
	latest atomic.Int64 // when a byte last passed, by clock.Now

	mu      sync.Mutex // guards the fields below
	most    time.Duration
	timer   *time.Timer // nil before there is a limit
	stopped bool
	expired func()
}

// start sets the limit, 0 for none, and the function that is called when it is exceeded.
func (a *activity) start(most time.Duration, expired func()) {
	a.expired = expired
	if most > 0 {
		a.limit(most)
	}
}

// limit sets a limit that applies from now on, unless the present one is lower.
func (a *activity) limit(most time.Duration) {
	a.note()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopped || a.most > 0 && a.most <= most:
	case a.timer == nil:
		a.most, a.timer = most, time.AfterFunc(most, a.check)
	default:
		a.most = most
		a.timer.Reset(most)
	}
}

// note records that bytes have passed.
func (a *activity) note() { a.latest.Store(int64(clock.Now())) }

// check is called by the timer. It calls expired if the limit is exceeded, or else waits for the rest of it.
func (a *activity) check() {
	a.mu.Lock()
	rest := a.most - (clock.Now() - time.Duration(a.latest.Load()))
	if rest > 0 && !a.stopped {
		a.timer.Reset(rest)
	}
	expired := rest <= 0 && !a.stopped
	a.mu.Unlock()
	if expired {
		a.expired()
	}
}

// stop stops the timer. A call of the function may still be running afterwards.
func (a *activity) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	if a.timer != nil {
		a.timer.Stop()
	}
}
