// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// crowd is the fan-outs of a handler that have not ended. Safe for concurrent use;
// the zero value is ready.
type crowd struct {
	mu     sync.Mutex // guards what follows
	runs   map[*run]bool
	closed bool
	empty  chan struct{} // closed when there are none, once closed
}

// add takes in a fan-out that is about to start, and reports false if it must not.
func (c *crowd) add(r *run) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if c.runs == nil {
		c.runs = make(map[*run]bool)
	}
	c.runs[r] = true
	return true
}

// remove is called when a fan-out has ended.
func (c *crowd) remove(r *run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runs, r)
	if c.empty != nil && len(c.runs) == 0 {
		close(c.empty)
		c.empty = nil
	}
}

func (c *crowd) list() []*run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.runs))
}

// members tells all fan-outs who is in the pool.
func (c *crowd) members(v *backend.View) {
	for _, r := range c.list() {
		r.members(v.Members)
	}
}

// close lets nobody in any more, waits at most so long, ends those that are left
// and waits for them.
func (c *crowd) close(grace time.Duration) {
	c.mu.Lock()
	c.closed = true
	if len(c.runs) == 0 {
		c.mu.Unlock()
		return
	}
	if c.empty == nil {
		c.empty = make(chan struct{})
	}
	empty := c.empty
	c.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-empty:
		return
	case <-timer.C:
	}
	for _, r := range c.list() {
		r.stop()
	}
	<-empty
}
