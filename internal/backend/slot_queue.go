// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// slotQueue hands out the slots of a pool while none is free, or nearly none, so that
// nobody has to look for one: it has a line of those that wait and a list of the
// backends with a free slot. Otherwise it is closed, and costs a request no more
// than to see that. It belongs to one configuration; the slots are shared with
// others. Safe for concurrent use.
type slotQueue struct {
	pool  *Pool
	rules QueueRules
	// open has requests come here rather than look at backends, and watching has
	// new views come here.
	open, watching atomic.Bool

	mu        sync.Mutex // guards what follows
	view      *View      // whose backends have the seats
	watchers  []slotWatcher
	free      [][]*slotWatcher // those with a free slot, by tier of the view
	freeCount int
	line      queue.Line[Permit]
	triedBy   map[*queue.Waiter[Permit]][]*Backend // those in line that have tried some, and which
	bound     map[*Backend]*queue.Line[Permit]     // those that wait for one backend alone
	waiting   int                                  // in all lines
	joined    time.Duration                        // how many have joined one
	retired   bool                                 // another configuration has taken over
}

// slotWatcher is the place of one backend at a desk.
type slotWatcher struct {
	queue    *slotQueue
	b        *Backend
	tier     int
	index    int            // among the vacant of its tier, -1 for not
	watching bool           // it is watched
	self     []*slotWatcher // itself, for [Slots]
}

// QueueRules are how requests wait for a slot. Read-only.
type QueueRules struct {
	// Size is how many may wait; 0 for none.
	Size int
	// Timeout is for how long one may.
	Timeout time.Duration
}

// minFreeShare is how many backends there must be for each with a free slot, at most,
// for the desk to close: then picks find one by chance, as ever.
const minFreeShare = 8

// start opens the desk and looks at all backends.
func (d *slotQueue) start() {
	d.open.Store(true)
	d.useView() // after that: whoever publishes a view sees one of them
	for i := range d.watchers {
		d.watchers[i].watch()
	}
	d.offerAll()
}

// useView has the desk take its seats from the current view.
func (d *slotQueue) useView() {
	d.watching.Store(true)
	v := d.pool.View()
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
	all := make([]*slotWatcher, 0, n)
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
		s.b.watch(s)
	}
}

func (s *slotWatcher) unwatch() {
	if s.watching {
		s.watching = false
		s.b.unwatch(s)
	}
	s.queue.markBusy(s)
}

// closeIfIdle closes the desk if it is not needed: nobody is in line, and enough
// backends have a free slot.
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

// retire has the desk be closed whenever nobody waits.
func (d *slotQueue) retire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retired = true
	d.closeIfIdle()
}

// viewChanged is told of each new view.
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
	if len(d.view.Tiers) == 0 { // they would wait for nothing
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

// offerAll offers whatever is free.
func (d *slotQueue) offerAll() {
	for i := range d.watchers {
		d.offer(&d.watchers[i])
	}
}

// offer gives the free slots of a backend to those that wait, and notes whether
// any is left.
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

// passOn hands a slot that is given back to the first who waits for one, if it may
// be used.
func (d *slotQueue) passOn(s *slotWatcher) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	limit := s.b.limit()
	if !s.watching || d.waiting == 0 || limit == 0 || s.b.taken.Load() > limit || !d.view.mayServe(s.b) || !d.view.NotOnTrial(s.b) {
		return false
	}
	w := d.next(s)
	if w == nil {
		return false
	}
	d.grant(w, Permit{s.b, true})
	return true
}

// slotFreed is told that a slot has become free.
func (d *slotQueue) slotFreed(s *slotWatcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.watching {
		d.offer(s)
		d.closeIfIdle()
	}
}

// markFree lists a backend that has a free slot and is not listed.
func (d *slotQueue) markFree(s *slotWatcher) {
	if s.index < 0 && d.open.Load() {
		s.index = len(d.free[s.tier])
		d.free[s.tier] = append(d.free[s.tier], s)
		d.freeCount++
	}
}

// markBusy undoes vacate.
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
