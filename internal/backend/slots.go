// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"
	"sync/atomic"
)

// Slots counts what is taken of what a backend can take: a slot for each attempt
// in flight, and for each request that was selected for it where there is a limit.
// Attempts count where there is none, too, so that a limit which an agent or a
// reload brings is kept from the first request on. Safe for concurrent use.
type Slots struct {
	taken atomic.Int64
	// watchers are those of the desks that want to know when a slot becomes free,
	// nil nearly always. What it points to is read-only.
	watchers atomic.Pointer[[]*slotWatcher]
}

// Taken returns how many slots are taken.
func (s *Slots) Taken() int { return int(s.taken.Load()) }

// InFlight returns the number of requests in flight. It is the one count that limits,
// policies, metrics and the admin API share. Caddy's own goes on until a response's
// routes have ended, and knows nothing of a backend that Caddy's policies choose.
func (s *Slots) InFlight() int { return s.Taken() }

// release gives a slot back. Where requests wait for one, it is handed to the first of
// them and is never free in between.
func (s *Slots) release() {
	for _, watcher := range s.watched() {
		if watcher.queue.passOn(watcher) {
			return
		}
	}
	s.taken.Add(-1)
	// A desk that has begun to watch before this is told; one that begins after it
	// finds the slot free.
	for _, watcher := range s.watched() {
		watcher.queue.slotFreed(watcher)
	}
}

func (s *Slots) watched() []*slotWatcher {
	if seats := s.watchers.Load(); seats != nil {
		return *seats
	}
	return nil
}

// watch has the seat's desk be told of slots that are given back.
func (s *Slots) watch(watcher *slotWatcher) {
	for {
		old := s.watchers.Load()
		if old == nil && s.watchers.CompareAndSwap(nil, &watcher.self) {
			return
		}
		if old != nil {
			if both := append(slices.Clone(*old), watcher); s.watchers.CompareAndSwap(old, &both) {
				return
			}
		}
	}
}

// unwatch undoes watch.
func (s *Slots) unwatch(gone *slotWatcher) {
	for {
		old := s.watchers.Load()
		if old == nil {
			return
		}
		others := slices.DeleteFunc(slices.Clone(*old), func(s *slotWatcher) bool { return s == gone })
		left := &others
		if len(others) == 0 {
			left = nil
		}
		if s.watchers.CompareAndSwap(old, left) {
			return
		}
	}
}

// Limit returns how many requests the backend may have in flight, 0 for any
// number: the least that its configuration, or an operator instead, and an agent
// say.
func (b *Backend) Limit() int { return int(b.limit()) }

func (b *Backend) limit() int64 {
	limit := b.maxRequests.Load()
	for _, v := range b.statuses {
		if n := v.AgentMaxRequests(); n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	return limit
}

// full reports whether the backend has as many requests as it may have.
func (b *Backend) full() bool {
	limit := b.limit()
	return limit > 0 && b.taken.Load() >= limit
}

// Take takes a slot, and reports false if none is free. A limit that comes at this
// very moment counts for the next.
func (b *Backend) Take() bool {
	for {
		limit := b.limit()
		if limit == 0 {
			b.taken.Add(1)
			return true
		}
		n := b.taken.Load()
		if n >= limit {
			return false
		}
		if b.taken.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// serves reports whether the backend may get a request now, unless it is full.
func (b *Backend) serves() bool {
	if b.Operator.out() || b.state.Load() != uint32(Healthy) && !b.Ejection.open() {
		return false
	}
	for _, v := range b.statuses {
		if !v.Open() {
			return false
		}
	}
	return true
}

// Eligible reports whether the backend may get a request now.
func (b *Backend) Eligible() bool { return b.serves() && !b.full() }

// Permit is what a request has of the backend that was selected for it, until it is
// sent there.
type Permit struct {
	// Backend is the one that was selected; nil for none.
	Backend *Backend
	// Slot says that one of its slots is reserved.
	Slot bool
}

// Release gives up what was claimed.
func (c Permit) Release() {
	if c.Slot {
		c.Backend.release()
	}
}

// Reserve is asked when b was selected for a request, and reports false if it
// cannot have it after all: a backend with a limit has so many slots, and one on
// trial gets one request at a time.
func (b *Backend) Reserve() (c Permit, ok bool) {
	undo, ok := b.Ejection.reserveTrial()
	if !ok {
		return Permit{}, false
	}
	if c, ok = b.reserveSlot(); !ok {
		b.Ejection.cancelTrial(undo)
	}
	return c, ok
}

func (b *Backend) reserveSlot() (c Permit, ok bool) {
	if b.limit() == 0 {
		return Permit{Backend: b}, true
	}
	if !b.Take() {
		return Permit{}, false
	}
	return Permit{b, true}, true
}
