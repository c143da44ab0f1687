// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"sync/atomic"
	"time"
)

// storeBreaker is whether a store can be reached. One that could not is left alone for a
// while, longer each time, so that requests do not all wait for it in vain. The
// zero value says that it can. Safe for concurrent use.
type storeBreaker struct {
	fails atomic.Int32
	until atomic.Int64 // when it may be asked again, in ns since 1970
}

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// allows reports whether the store may be asked: when a pause is over, by one
// request first.
func (h *storeBreaker) allows() bool {
	until := h.until.Load()
	if until == 0 {
		return true
	}
	now := time.Now().UnixNano()
	return now >= until && h.until.CompareAndSwap(until, now+int64(firstPause))
}

// record notes what became of asking, and reports whether the store is in reach now
// and was not before, or the other way around.
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
