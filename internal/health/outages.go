// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"sync"
	"time"
)

// Outages counts how often, and for how long, the checks of a backend marked it down. The zero
// value is up. Safe for concurrent use.
type Outages struct {
	mu    sync.Mutex // guards the fields below
	times int64      // changes to down
	ups   int64      // changes to up
	since time.Time  // of the current outage; zero while up
	total time.Duration
}

// Change counts a change to up or down.
func (o *Outages) Change(up bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case up && !o.since.IsZero():
		o.total += time.Since(o.since)
		o.since = time.Time{}
		o.ups++
	case up:
		o.ups++
	default:
		o.since = time.Now()
		o.times++
	}
}

// Transitions returns the number of changes between up and down.
func (o *Outages) Transitions() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.times + o.ups
}

// Down returns how often the backend went down, and for how long it was down in total.
func (o *Outages) Down() (times int64, total time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	total = o.total
	if !o.since.IsZero() {
		total += time.Since(o.since)
	}
	return o.times, total
}
