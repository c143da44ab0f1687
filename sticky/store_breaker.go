// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"sync/atomic"
	"time"
)

// storeBreaker is the circuit breaker of a session store. After a failure it opens for a pause,
// longer each time, so that requests do not all wait for a store that does not respond. The
// zero value is closed. It is safe for concurrent use.
type storeBreaker struct {
	fails atomic.Int32
	until atomic.Int64 // end of the pause, in ns since 1970; 0 while closed
}

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// allows reports whether the store may be called. After a pause, one request is allowed first.
func (h *storeBreaker) allows() bool {
	until := h.until.Load()
	if until == 0 {
		return true
	}
	now := time.Now().UnixNano()
	return now >= until && h.until.CompareAndSwap(until, now+int64(firstPause))
}

// record records the result of a call, and reports whether the breaker has opened or closed.
func (h *storeBreaker) record(answered bool) (changed bool) {
	if answered {
		if h.until.Load() == 0 {
			return false
		}
		h.until.Store(0)
		return h.fails.Swap(0) > 0
	}
	n := h.fails.Add(1)
	pause := min(firstPause<<min(n-1, 10), lastPause)
	h.until.Store(time.Now().Add(pause).UnixNano())
	return n == 1
}
