// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// desk hands out the slots of a pool while none is free, or nearly none, so that
// nobody has to look for one: it has a line of those that wait and a list of the
// backends with a free slot. Otherwise it is closed, and costs a request no more
// than to see that. It belongs to one configuration; the slots are shared with
// others. Safe for concurrent use.
type desk struct {
	pool  *Pool
	rules QueueRules
	// open has requests come here rather than look at backends, and watching has
	// new views come here.
	open, watching atomic.Bool

	mu      sync.Mutex // guards what follows
	view    *View      // whose backends have the seats
	seats   []seat
	vacant  [][]*seat // those with a free slot, by tier of the view
	vacants int
	line    queue.Line[Claim]
	picky   map[*queue.Waiter[Claim]][]*Backend // those in line that have tried some, and which
	bound   map[*Backend]*queue.Line[Claim]     // those that wait for one backend alone
	waiting int                                 // in all lines
	came    time.Duration                       // how many have joined one
	retired bool                                // another configuration has taken over
}

// seat is the place of one backend at a desk.
type seat struct {
	desk *desk
	b    *Backend
	tier int
	at   int     // among the vacant of its tier, -1 for not
	live bool    // it is watched
	only []*seat // itself, for [Slots]
}

// QueueRules are how requests wait for a slot. Read-only.
type QueueRules struct {
	// Size is how many may wait; 0 for none.
	Size int
	// Timeout is for how long one may.
	Timeout time.Duration
}

// openShare is how many backends there must be for each with a free slot, at most,
// for the desk to close: then picks find one by chance, as ever.
const openShare = 8

// start opens the desk and looks at all backends.
func (d *desk) start() {
	d.open.Store(true)
	d.follow() // after that: whoever publishes a view sees one of them
	for i := range d.seats {
		d.seats[i].watch()
	}
	d.look()
}

// follow has the desk take its seats from the current view.
func (d *desk) follow() {
	d.watching.Store(true)
	v := d.pool.View()
	if v == d.view {
		return
	}
	for i := range d.seats {
		d.seats[i].unwatch()
	}
	d.view, d.vacants, d.vacant = v, 0, make([][]*seat, len(v.Tiers))
	n := 0
	for _, t := range v.Tiers {
		n += len(t.Backends)
	}
	d.seats = make([]seat, 0, n)
	all := make([]*seat, 0, n)
	for i, t := range v.Tiers {
		for _, b := range t.Backends {
			d.seats = append(d.seats, seat{desk: d, b: b, tier: i, at: -1})
			s := &d.seats[len(d.seats)-1]
			all = append(all, s)
			s.only = all[len(all)-1 : len(all) : len(all)]
		}
	}
}

func (s *seat) watch() {
	if !s.live {
		s.live = true
		s.b.watch(s)
	}
}

func (s *seat) unwatch() {
	if s.live {
		s.live = false
		s.b.unwatch(s)
	}
	s.desk.occupy(s)
}

// settle closes the desk if it is not needed: nobody is in line, and enough
// backends have a free slot.
func (d *desk) settle() {
	enough := d.retired || d.vacants >= max(1, len(d.seats)/openShare) || len(d.seats) == 0
	if d.open.Load() && d.line.Len() == 0 && enough {
		d.open.Store(false)
		for i := range d.seats {
			if s := &d.seats[i]; d.bound[s.b] == nil {
				s.unwatch()
			} else {
				d.occupy(s)
			}
		}
	}
	d.watching.Store(d.waiting > 0 || d.open.Load())
}

// retire has the desk be closed whenever nobody waits.
func (d *desk) retire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retired = true
	d.settle()
}

// changed is told of each new view.
func (d *desk) changed() {
	if !d.watching.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.watching.Load() {
		return
	}
	d.follow()
	if len(d.view.Tiers) == 0 { // they would wait for nothing
		d.dismiss(&d.line)
	}
	for b, line := range d.bound {
		if s := d.find(b); s != nil {
			s.watch()
			continue
		}
		d.dismiss(line)
		delete(d.bound, b)
	}
	if d.open.Load() {
		for i := range d.seats {
			d.seats[i].watch()
		}
	}
	d.look()
	d.settle()
}

// look offers whatever is free.
func (d *desk) look() {
	for i := range d.seats {
		d.offer(&d.seats[i])
	}
}

// offer gives the free slots of a backend to those that wait, and notes whether
// any is left.
func (d *desk) offer(s *seat) {
	for s.live && d.view.Usable(s.b) {
		w := d.next(s)
		if w == nil {
			d.vacate(s)
			return
		}
		c, ok := d.view.Claim(s.b)
		if !ok {
			break
		}
		d.give(w, c)
	}
	d.occupy(s)
}

// pass hands a slot that is given back to the first who waits for one, if it may
// be used.
func (d *desk) pass(s *seat) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	limit := s.b.limit()
	if !s.live || d.waiting == 0 || limit == 0 || s.b.taken.Load() > limit || !d.view.allows(s.b) || !d.view.Proven(s.b) {
		return false
	}
	w := d.next(s)
	if w == nil {
		return false
	}
	d.give(w, Claim{s.b, true})
	return true
}

// vacated is told that a slot has become free.
func (d *desk) vacated(s *seat) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.live {
		d.offer(s)
		d.settle()
	}
}

// vacate lists a backend that has a free slot and is not listed.
func (d *desk) vacate(s *seat) {
	if s.at < 0 && d.open.Load() {
		s.at = len(d.vacant[s.tier])
		d.vacant[s.tier] = append(d.vacant[s.tier], s)
		d.vacants++
	}
}

// occupy undoes vacate.
func (d *desk) occupy(s *seat) {
	if s.at < 0 {
		return
	}
	list := d.vacant[s.tier]
	last := list[len(list)-1]
	list[s.at], last.at = last, s.at
	d.vacant[s.tier] = list[:len(list)-1]
	s.at = -1
	d.vacants--
}
