// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// slotQueue grants the slots of a group of a pool in FIFO order while the group is saturated, so that
// requests need not search for a free slot. It has a line of waiters and a list of the backends
// with a free slot. While the pool is not saturated, the queue is closed and requests bypass it:
// open is the only field that they read. A slotQueue belongs to one configuration; the slots are
// shared with others. Safe for concurrent use.
type slotQueue struct {
	pool  *Pool
	group int // its index
	rules QueueRules
	// open makes requests call Acquire instead of choosing from the view. watching makes new
	// views call viewChanged.
	open, watching atomic.Bool

	mu        sync.Mutex // guards the fields below
	view      *View      // the view of the watchers
	watchers  []slotWatcher
	free      [][]*slotWatcher // watchers of backends with a free slot, by tier of the view
	freeCount int
	line      queue.Line[backend.Permit]
	triedBy   map[*queue.Waiter[backend.Permit]][]*backend.Backend // backends that the waiters in line have tried already
	bound     map[*backend.Backend]*queue.Line[backend.Permit]     // waiters for one backend only
	waiting   int                                                  // waiters in all lines
	joined    time.Duration                                        // the number of waiters ever; the clock of the lines
	retired   bool                                                 // another configuration has taken over
}

// slotWatcher watches the slots of one backend for a queue.
type slotWatcher struct {
	queue    *slotQueue
	b        *backend.Backend
	tier     int
	index    int                   // index in free[tier], -1 if not in it
	watching bool                  // registered with the Slots of the backend
	self     []backend.SlotWatcher // only itself, as the list in [backend.Slots]
}

// QueueRules are the rules for requests that wait for a slot. Read-only.
type QueueRules struct {
	// Size is the maximum number of waiting requests; 0 for no queue.
	Size int
	// Timeout is how long a request may wait.
	Timeout time.Duration
}

// minFreeShare is the share of backends that need a free slot for the queue to close, as 1 in
// minFreeShare. With so many, policies find a free backend by chance.
const minFreeShare = 8

// start opens the queue and offers the slots of all backends.
func (d *slotQueue) start() {
	d.open.Store(true)
	d.useView() // after open: a concurrent Publish sees open, or its view is seen here
	for i := range d.watchers {
		d.watchers[i].watch()
	}
	d.offerAll()
}

// useView replaces the watchers by those for the current view.
func (d *slotQueue) useView() {
	d.watching.Store(true)
	v := d.pool.View().Of(d.group)
	if v == d.view {
		return
	}
	for i := range d.watchers {
		d.watchers[i].unwatch()
	}
	d.view, d.freeCount, d.free = v, 0, make([][]*slotWatcher, len(v.Tiers))
	n := 0
	for _, t := range v.Tiers {
		n += len(t.Backends)
	}
	d.watchers = make([]slotWatcher, 0, n)
	all := make([]backend.SlotWatcher, 0, n)
	for i, t := range v.Tiers {
		for _, b := range t.Backends {
			d.watchers = append(d.watchers, slotWatcher{queue: d, b: b, tier: i, index: -1})
			s := &d.watchers[len(d.watchers)-1]
			all = append(all, s)
			s.self = all[len(all)-1 : len(all) : len(all)]
		}
	}
}

func (s *slotWatcher) watch() {
	if !s.watching {
		s.watching = true
		s.b.Watch(&s.self)
	}
}

func (s *slotWatcher) unwatch() {
	if s.watching {
		s.watching = false
		s.b.Unwatch(s)
	}
	s.queue.markBusy(s)
}

// closeIfIdle closes the queue if the line is empty and enough backends have a free slot.
func (d *slotQueue) closeIfIdle() {
	enough := d.retired || d.freeCount >= max(1, len(d.watchers)/minFreeShare) || len(d.watchers) == 0
	if d.open.Load() && d.line.Len() == 0 && enough {
		d.open.Store(false)
		for i := range d.watchers {
			if s := &d.watchers[i]; d.bound[s.b] == nil {
				s.unwatch()
			} else {
				d.markBusy(s)
			}
		}
	}
	d.watching.Store(d.waiting > 0 || d.open.Load())
}

// retire closes the queue as soon as no request waits.
func (d *slotQueue) retire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retired = true
	d.closeIfIdle()
}

// viewChanged adopts a new view. Publish calls it.
func (d *slotQueue) viewChanged() {
	if !d.watching.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.watching.Load() {
		return
	}
	d.useView()
	if len(d.view.Tiers) == 0 { // no backend can ever serve these waiters
		d.rejectAll(&d.line)
	}
	for b, line := range d.bound {
		if s := d.watcherOf(b); s != nil {
			s.watch()
			continue
		}
		d.rejectAll(line)
		delete(d.bound, b)
	}
	if d.open.Load() {
		for i := range d.watchers {
			d.watchers[i].watch()
		}
	}
	d.offerAll()
	d.closeIfIdle()
}

// offerAll offers the free slots of all backends.
func (d *slotQueue) offerAll() {
	for i := range d.watchers {
		d.offer(&d.watchers[i])
	}
}

// offer grants the free slots of a backend to waiters, and updates the list of free backends.
func (d *slotQueue) offer(s *slotWatcher) {
	for s.watching && d.view.Usable(s.b) {
		w := d.next(s)
		if w == nil {
			d.markFree(s)
			return
		}
		c, ok := d.view.Reserve(s.b)
		if !ok {
			break
		}
		d.grant(w, c)
	}
	d.markBusy(s)
}

// PassOn implements [backend.SlotWatcher].
func (s *slotWatcher) PassOn() bool { return s.queue.passOn(s) }

// SlotFreed implements [backend.SlotWatcher].
func (s *slotWatcher) SlotFreed() { s.queue.slotFreed(s) }

// passOn grants a slot that is being released to the first waiter for it. It returns false if there is none, or if
// the backend may not use the slot.
func (d *slotQueue) passOn(s *slotWatcher) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !s.watching || d.waiting == 0 || !s.b.Limited() || s.b.Taken() > s.b.Limit() || !d.view.mayServe(s.b) || !d.view.NotOnTrial(s.b) {
		return false
	}
	w := d.next(s)
	if w == nil {
		return false
	}
	d.grant(w, backend.Permit{Backend: s.b, Slot: true})
	return true
}

// slotFreed offers a slot that has become free. Release calls it.
func (d *slotQueue) slotFreed(s *slotWatcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.watching {
		d.offer(s)
		d.closeIfIdle()
	}
}

// markFree adds a backend to the list of free backends, if it is not in it.
func (d *slotQueue) markFree(s *slotWatcher) {
	if s.index < 0 && d.open.Load() {
		s.index = len(d.free[s.tier])
		d.free[s.tier] = append(d.free[s.tier], s)
		d.freeCount++
	}
}

// markBusy removes a backend from the list of free backends.
func (d *slotQueue) markBusy(s *slotWatcher) {
	if s.index < 0 {
		return
	}
	list := d.free[s.tier]
	last := list[len(list)-1]
	list[s.index], last.index = last, s.index
	d.free[s.tier] = list[:len(list)-1]
	s.index = -1
	d.freeCount--
}
