// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"slices"
	"sync/atomic"
	"time"
)

// Slots counts the slots that are taken of a backend: one for each attempt in flight and, if
// there is a limit, one for each request for which the backend was selected. Attempts are counted
// without a limit, too, so that a limit which an agent or a reload sets holds from the first
// request on. Safe for concurrent use.
type Slots struct {
	taken atomic.Int64
	// watchers are the slot watchers of the queues that wait for a free slot; nearly always nil. The slice is
	// read-only.
	watchers atomic.Pointer[[]SlotWatcher]
}

// SlotWatcher is notified of the slots that are released.
type SlotWatcher interface {
	// PassOn passes a slot that is being released to a request that waits for it. It returns false if no
	// request waits.
	PassOn() bool
	// SlotFreed is called when a slot has become free.
	SlotFreed()
}

// Taken returns the number of slots in use.
func (s *Slots) Taken() int { return int(s.taken.Load()) }

// InFlight returns the number of requests in flight. Limits, policies, metrics and the admin API
// all use this count. Caddy's own count ends only with the handle_response routes, and does not
// include the backends that Caddy's policies choose.
func (s *Slots) InFlight() int { return s.Taken() }

// release returns a slot. If a request waits for it, the slot passes directly to the first waiter
// and is never free in between.
func (s *Slots) release() {
	for _, watcher := range s.Watchers() {
		if watcher.PassOn() {
			return
		}
	}
	s.taken.Add(-1)
	// A queue that began to watch before the decrement is notified here. One that begins after it
	// finds the slot free.
	s.notifyFree()
}

// notifyFree notifies the watchers that slots may have become free.
func (s *Slots) notifyFree() {
	for _, watcher := range s.Watchers() {
		watcher.SlotFreed()
	}
}

// Watchers returns the watchers.
func (s *Slots) Watchers() []SlotWatcher {
	if watchers := s.watchers.Load(); watchers != nil {
		return *watchers
	}
	return nil
}

// Watch registers a watcher, which is notified of each released slot. list contains it alone, and
// is not changed.
func (s *Slots) Watch(list *[]SlotWatcher) {
	for {
		old := s.watchers.Load()
		if old == nil && s.watchers.CompareAndSwap(nil, list) {
			return
		}
		if old != nil {
			if both := append(slices.Clone(*old), *list...); s.watchers.CompareAndSwap(old, &both) {
				return
			}
		}
	}
}

// Unwatch undoes Watch.
func (s *Slots) Unwatch(gone SlotWatcher) {
	for {
		old := s.watchers.Load()
		if old == nil {
			return
		}
		others := slices.DeleteFunc(slices.Clone(*old), func(s SlotWatcher) bool { return s == gone })
		left := &others
		if len(others) == 0 {
			left = nil
		}
		if s.watchers.CompareAndSwap(old, left) {
			return
		}
	}
}

// Limit returns the maximum number of requests in flight; 0 for no limit unless Limited. It is the lowest of
// max_requests, as configured or set by an operator, this instance's share of it, and the limits that agents have
// set.
func (b *Backend) Limit() int { return max(0, int(b.limit())) }

// Limited reports whether the backend has a limit. A share of a limit of the fleet may be 0.
func (b *Backend) Limited() bool { return b.limit() != 0 }

// limit returns the limit, 0 for none, or noSlots.
func (b *Backend) limit() int64 {
	limit := b.maxRequests.Load()
	if limit != 0 && b.outdated() {
		if all, fleet := b.limitOfAll(); fleet {
			limit = int64(b.shared.share(all, b.Address))
		}
	}
	// Requests of a configuration that has ended, whose pool publishes no views, keep to a lower limit too.
	if n := b.MaxRequestsOverride.limit.Load() - 1; n > 0 && (limit == 0 || n < limit) {
		limit = n
	}
	for _, v := range b.statuses {
		if n := v.AgentMaxRequests(); n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	return limit
}

// Full reports whether the backend is at its limit.
func (b *Backend) Full() bool {
	limit := b.limit()
	return limit != 0 && b.taken.Load() >= limit
}

// Take takes a slot, and reports false if none is free. A limit that is set concurrently takes
// effect for the next request.
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

// Serves reports whether the backend may get a request now, apart from its limit.
func (b *Backend) Serves() bool {
	if b.out() || b.EjectionState() != outlier.Healthy && !b.Ejection.Allows() {
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
func (b *Backend) Eligible() bool { return b.Serves() && !b.Full() }

// Permit is the right to send one request to one backend. It holds the slot, if the backend has a
// limit, until the request is sent or the permit is released.
type Permit struct {
	// Backend is the backend that was selected; nil for none.
	Backend *Backend
	// Slot reports that the permit holds a slot of the backend.
	Slot bool
	// Waited is how long the request waited in the queue for it.
	Waited time.Duration

	trial int64 // the reservation of the trial that the permit holds, too; 0 for none
}

// Release releases the slot of a permit, and the trial, if no attempt has begun.
func (c Permit) Release() {
	if c.Slot {
		c.Backend.CancelTrial(c.trial)
		c.Backend.release()
	}
}

// Reserve returns a permit for a request for which b was selected. ok is false if b has become
// full, or if it is on trial and another request has the trial.
func (b *Backend) Reserve() (c Permit, ok bool) {
	undo, ok := b.Ejection.ReserveTrial()
	if !ok {
		return Permit{}, false
	}
	if c, ok = b.ReserveSlot(); !ok {
		b.Ejection.CancelTrial(undo)
	} else if c.Slot {
		c.trial = undo
	}
	return c, ok
}

// ReserveSlot is Reserve without regard to ejections.
func (b *Backend) ReserveSlot() (c Permit, ok bool) {
	if b.limit() == 0 {
		return Permit{Backend: b}, true
	}
	if !b.Take() {
		return Permit{}, false
	}
	return Permit{Backend: b, Slot: true}, true
}

// InUse reports whether the backend has requests in flight.
func (s *Slots) InUse() bool { return s.InFlight() > 0 }
