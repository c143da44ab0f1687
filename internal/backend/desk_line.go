// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	weakrand "math/rand/v2"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// arrive readies the desk for a wish, and returns the seat that it names, if any.
// It is false if the pool does not offer that.
func (d *desk) arrive(w Wish) (s *seat, ok bool) {
	switch {
	case w.Only == nil && !d.open.Load():
		d.start()
	case w.Only != nil && !d.open.Load():
		d.follow()
	}
	if w.Only == nil && w.Best == nil {
		return nil, true
	}
	s = d.find(cmp.Or(w.Only, w.Best))
	return s, s != nil || w.Only == nil
}

// find returns the seat of a backend, or nil.
func (d *desk) find(b *Backend) *seat {
	for _, s := range b.watched() {
		if s.desk == d {
			return s
		}
	}
	n := 0
	for _, t := range d.view.Tiers {
		if i := slices.Index(t.Backends, b); i >= 0 {
			return &d.seats[n+i]
		}
		n += len(t.Backends)
	}
	return nil
}

// take claims a free slot. Who is in line can use none, or would have it.
func (d *desk) take(w Wish, s *seat) (c Claim, ok bool) {
	if w.Only != nil {
		if d.bound[s.b] == nil && (s.at >= 0 || !d.open.Load()) {
			return d.claim(s)
		}
		return c, false
	}
	if s != nil && s.at >= 0 && d.suits(w.Tried, s.b) {
		if c, ok = d.claim(s); ok {
			return c, true
		}
	}
	for _, tried := range [][]*Backend{w.Tried, nil} {
		for tier := range d.vacant {
			if c, ok = d.takeAny(tier, tried); ok {
				return c, true
			}
		}
		if len(w.Tried) == 0 {
			break
		}
	}
	return c, false
}

// takeAny claims one of the vacant backends of a tier. It passes over no more than
// were tried, and some that wait for a trial.
func (d *desk) takeAny(tier int, tried []*Backend) (Claim, bool) {
	for passed := 0; passed < len(d.vacant[tier]) && passed <= len(tried)+maxTrials; {
		list := d.vacant[tier]
		s := list[weakrand.IntN(len(list)-passed)]
		if len(tried) > 0 && (slices.Contains(tried, s.b) || !d.view.Proven(s.b)) {
			last := list[len(list)-1-passed] // it trades places, so that another is drawn
			list[s.at], list[last.at] = last, s
			s.at, last.at = last.at, s.at
			passed++
			continue
		}
		if c, ok := d.claim(s); ok {
			return c, true
		}
	}
	return Claim{}, false
}

// claim claims a slot of a backend, and keeps the list of the vacant.
func (d *desk) claim(s *seat) (c Claim, ok bool) {
	if d.view.Usable(s.b) {
		c, ok = d.view.Claim(s.b)
	}
	if !ok || !d.view.Usable(s.b) {
		d.occupy(s)
	}
	return c, ok
}

// suits reports whether a request that has tried these may get b: not if it was
// one of them and there is another, nor b's trial.
func (d *desk) suits(tried []*Backend, b *Backend) bool {
	if len(tried) == 0 {
		return true
	}
	if !d.view.Proven(b) {
		return false
	}
	if !slices.Contains(tried, b) {
		return true
	}
	for i := range min(len(tried)+1, len(d.seats)) {
		if !slices.Contains(tried, d.seats[i].b) {
			return false
		}
	}
	return true
}

// join puts a request in line.
func (d *desk) join(w Wish, s *seat) *queue.Waiter[Claim] {
	// Several may come at the same time: the clock is a count.
	d.came++
	waiter := queue.NewWaiter[Claim](d.came)
	d.waiting++
	if w.Only == nil {
		if len(w.Tried) > 0 {
			if d.picky == nil {
				d.picky = make(map[*queue.Waiter[Claim]][]*Backend)
			}
			d.picky[waiter] = w.Tried
		}
		d.line.Join(waiter)
		return waiter
	}
	if d.bound == nil {
		d.bound = make(map[*Backend]*queue.Line[Claim])
	}
	if d.bound[s.b] == nil {
		d.bound[s.b] = new(queue.Line[Claim])
	}
	d.bound[s.b].Join(waiter)
	s.watch()
	d.watching.Store(true)
	return waiter
}

// maxPassed bounds how many of those in line a slot is offered to in vain: they
// would all have to have tried its backend.
const maxPassed = 64

// next returns who has waited longest for a slot of a backend, or nil.
func (d *desk) next(s *seat) *queue.Waiter[Claim] {
	w := d.line.Oldest()
	for n := 0; w != nil && !d.suits(d.picky[w], s.b); n++ {
		if w = w.Newer(); n == maxPassed {
			w = nil
		}
	}
	if line := d.bound[s.b]; line != nil {
		if first := line.Oldest(); first != nil && (w == nil || first.Since < w.Since) {
			return first
		}
	}
	return w
}

// give hands a claim to who waits; one of nothing sends it away.
func (d *desk) give(w *queue.Waiter[Claim], c Claim) {
	w.Give(c)
	d.forget(w, c.Backend)
}

// forget forgets who has left its line, perhaps that of a backend.
func (d *desk) forget(w *queue.Waiter[Claim], b *Backend) {
	delete(d.picky, w)
	d.waiting--
	if line := d.bound[b]; line != nil && line.Len() == 0 {
		delete(d.bound, b)
		if s := d.find(b); s != nil && !d.open.Load() {
			s.unwatch()
		}
	}
}

// quit takes who will not wait longer out of its line, and reports false if it was
// given something.
func (d *desk) quit(w *queue.Waiter[Claim], s *seat) bool {
	if !w.Leave() {
		return false
	}
	var b *Backend
	if s != nil {
		b = s.b
	}
	d.forget(w, b)
	return true
}

// dismiss sends all who are in a line away.
func (d *desk) dismiss(line *queue.Line[Claim]) {
	for w := line.Oldest(); w != nil; w = line.Oldest() {
		d.give(w, Claim{})
	}
}
