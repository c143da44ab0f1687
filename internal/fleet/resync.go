// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync"
	"time"
)

// cause is the reason for a resync.
type cause string

const (
	byStart    cause = "start"
	byJoin     cause = "join"
	byGap      cause = "gap"
	byLoss     cause = "loss"
	byOverflow cause = "overflow"
)

const (
	// resyncPause is the least time between two resyncs. It doubles, up to maxResyncPause, while resyncs
	// of the same cause repeat. joinPause applies instead before a resync for a new topic.
	resyncPause    = time.Second
	maxResyncPause = 30 * time.Second
	joinPause      = 50 * time.Millisecond
	// All instances notice a loss at once. So each delays its resync, and the backfill after it, by a
	// random time of up to spread for each instance of the fleet, at most maxSpread.
	spread    = 5 * time.Millisecond
	maxSpread = 5 * time.Second
)

// resyncs schedules and counts resyncs. Safe for concurrent use.
type resyncs struct {
	mu     sync.Mutex
	due    cause     // "" for none
	latest time.Time // end of the latest resync; zero for none
	pause  time.Duration
	ends   map[cause]time.Time // ends of the latest resync of each cause
	counts map[cause]uint64    // completed resyncs
}

// want makes a resync due.
func (r *resyncs) want(c cause) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due == "" || r.due == byJoin {
		r.due = c
	}
}

// next returns the cause of the resync that is due, or "", and how long to wait before it.
func (r *resyncs) next() (c cause, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pause := r.pause
	if r.due == byJoin {
		pause = joinPause
	}
	if r.due == "" || r.latest.IsZero() {
		return r.due, 0
	}
	return r.due, max(0, time.Until(r.latest.Add(pause)))
}

// take returns the cause of the resync that is due, and marks it as begun.
func (r *resyncs) take() cause {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.due
	r.due = ""
	return c
}

// done counts a completed resync, and sets the pause before the next.
func (r *resyncs) done(c cause) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.counts == nil {
		r.counts, r.ends = make(map[cause]uint64), make(map[cause]time.Time)
	}
	switch end, again := r.ends[c]; {
	case r.latest.IsZero() || now.Sub(r.latest) > 2*r.pause:
		r.pause = resyncPause
	case c != byJoin && again && now.Sub(end) <= 2*r.pause: // for each cause: a store that loses its records also has a gap
		r.pause = min(2*r.pause, maxResyncPause)
	}
	r.ends[c] = now
	r.counts[c]++
	r.latest = now
}

// total returns the numbers of resyncs by cause.
func (r *resyncs) total() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]uint64, len(r.counts))
	for c, n := range r.counts {
		all[string(c)] = n
	}
	return all
}
