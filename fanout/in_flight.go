// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// inFlightSet holds the fan-outs of a handler that have not ended. Safe for concurrent use;
// the zero value is ready.
type inFlightSet struct {
	mu    sync.Mutex // guards the fields below
	runs  map[*run]bool
	until time.Time     // end of detached work; zero until the configuration has ended
	empty chan struct{} // closed when the set becomes empty; nil unless waitEmpty waits
}

// add adds a fan-out that is about to start.
func (c *inFlightSet) add(r *run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs = make(map[*run]bool)
	}
	c.runs[r] = true
}

// remove removes a fan-out that has ended.
func (c *inFlightSet) remove(r *run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runs, r)
	if c.empty != nil && len(c.runs) == 0 {
		close(c.empty)
		c.empty = nil
	}
}

func (c *inFlightSet) list() []*run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.runs))
}

// viewChanged passes the members of a new view to all fan-outs.
func (c *inFlightSet) viewChanged(v *pool.View) {
	for _, r := range c.list() {
		r.members(v.Members)
	}
}

// close ends detached work after the grace period.
func (c *inFlightSet) close(grace time.Duration) {
	c.mu.Lock()
	c.until = time.Now().Add(grace)
	c.mu.Unlock()
	for _, r := range c.list() {
		r.detachedFor(grace)
	}
}

// closed reports whether detached work is limited in time, and how much time is left.
func (c *inFlightSet) closed() (left time.Duration, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(c.until), !c.until.IsZero()
}

// waitEmpty waits until the set is empty, at most for the given time.
func (c *inFlightSet) waitEmpty(most time.Duration) {
	c.mu.Lock()
	if len(c.runs) == 0 {
		c.mu.Unlock()
		return
	}
	if c.empty == nil {
		c.empty = make(chan struct{})
	}
	empty := c.empty
	c.mu.Unlock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-empty:
	case <-timer.C:
	}
}
