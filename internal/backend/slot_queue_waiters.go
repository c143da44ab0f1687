// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	weakrand "math/rand/v2"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// prepare readies the desk for a wish, and returns the seat that it names, if any.
// It is false if the pool does not offer that.
func (d *slotQueue) prepare(w AcquireOptions) (s *slotWatcher, ok bool) {
	switch {
	case w.Only == nil && !d.open.Load():
		d.start()
	case w.Only != nil && !d.open.Load():
		d.useView()
	}
	if w.Only == nil && w.Preferred == nil {
		return nil, true
	}
	s = d.watcherOf(cmp.Or(w.Only, w.Preferred))
	return s, s != nil || w.Only == nil
}

// watcherOf returns the seat of a backend, or nil.
func (d *slotQueue) watcherOf(b *Backend) *slotWatcher {
	for _, s := range b.watched() {
		if s.queue == d {
			return s
		}
	}
	n := 0
	for _, t := range d.view.Tiers {
		if i := slices.Index(t.Backends, b); i >= 0 {
			return &d.watchers[n+i]
		}
		n += len(t.Backends)
	}
	return nil
}

// acquireFree claims a free slot. Who is in line can use none, or would have it.
func (d *slotQueue) acquireFree(w AcquireOptions, s *slotWatcher) (c Permit, ok bool) {
	if w.Only != nil {
		if d.bound[s.b] == nil && (s.index >= 0 || !d.open.Load()) {
			return d.acquire(s)
		}
		return c, false
	}
	if s != nil && s.index >= 0 && d.accepts(w.Tried, s.b) {
		if c, ok = d.acquire(s); ok {
			return c, true
		}
	}
	for _, tried := range [][]*Backend{w.Tried, nil} {
		for tier := range d.free {
			if c, ok = d.acquireAny(tier, tried); ok {
				return c, true
			}
		}
		if len(w.Tried) == 0 {
			break
		}
	}
	return c, false
}

// acquireAny claims one of the vacant backends of a tier. It passes over no more than
// were tried, and some that wait for a trial.
func (d *slotQueue) acquireAny(tier int, tried []*Backend) (Permit, bool) {
	for passed := 0; passed < len(d.free[tier]) && passed <= len(tried)+maxTrials; {
		list := d.free[tier]
		s := list[weakrand.IntN(len(list)-passed)]
		if len(tried) > 0 && (slices.Contains(tried, s.b) || !d.view.NotOnTrial(s.b)) {
			last := list[len(list)-1-passed] // it trades places, so that another is drawn
			list[s.index], list[last.index] = last, s
			s.index, last.index = last.index, s.index
			passed++
			continue
		}
		if c, ok := d.acquire(s); ok {
			return c, true
		}
	}
	return Permit{}, false
}

// acquire claims a slot of a backend, and keeps the list of the vacant.
func (d *slotQueue) acquire(s *slotWatcher) (c Permit, ok bool) {
	if d.view.Usable(s.b) {
		c, ok = d.view.Reserve(s.b)
	}
	if !ok || !d.view.Usable(s.b) {
		d.markBusy(s)
	}
	return c, ok
}

// accepts reports whether a request that has tried these may get b: not if it was
// one of them and there is another, nor b's trial.
func (d *slotQueue) accepts(tried []*Backend, b *Backend) bool {
	if len(tried) == 0 {
		return true
	}
	if !d.view.NotOnTrial(b) {
		return false
	}
	if !slices.Contains(tried, b) {
		return true
	}
	for i := range min(len(tried)+1, len(d.watchers)) {
		if !slices.Contains(tried, d.watchers[i].b) {
			return false
		}
	}
	return true
}

// join puts a request in line.
func (d *slotQueue) join(w AcquireOptions, s *slotWatcher) *queue.Waiter[Permit] {
	// Several may come at the same time: the clock is a count.
	d.joined++
	waiter := queue.NewWaiter[Permit](d.joined)
	d.waiting++
	if w.Only == nil {
		if len(w.Tried) > 0 {
			if d.triedBy == nil {
				d.triedBy = make(map[*queue.Waiter[Permit]][]*Backend)
			}
			d.triedBy[waiter] = w.Tried
		}
		d.line.Join(waiter)
		return waiter
	}
	if d.bound == nil {
		d.bound = make(map[*Backend]*queue.Line[Permit])
	}
	if d.bound[s.b] == nil {
		d.bound[s.b] = new(queue.Line[Permit])
	}
	d.bound[s.b].Join(waiter)
	s.watch()
	d.watching.Store(true)
	return waiter
}

// maxSkipped bounds how many of those in line a slot is offered to in vain: they
// would all have to have tried its backend.
const maxSkipped = 64

// next returns who has waited longest for a slot of a backend, or nil.
func (d *slotQueue) next(s *slotWatcher) *queue.Waiter[Permit] {
	w := d.line.Oldest()
	for n := 0; w != nil && !d.accepts(d.triedBy[w], s.b); n++ {
		if w = w.Newer(); n == maxSkipped {
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

// grant hands a claim to who waits; one of nothing sends it away.
func (d *slotQueue) grant(w *queue.Waiter[Permit], c Permit) {
	w.Grant(c)
	d.left(w, c.Backend)
}

// left forgets who has left its line, perhaps that of a backend.
func (d *slotQueue) left(w *queue.Waiter[Permit], b *Backend) {
	delete(d.triedBy, w)
	d.waiting--
	if line := d.bound[b]; line != nil && line.Len() == 0 {
		delete(d.bound, b)
		if s := d.watcherOf(b); s != nil && !d.open.Load() {
			s.unwatch()
		}
	}
}

// leave takes who will not wait longer out of its line, and reports false if it was
// given something.
func (d *slotQueue) leave(w *queue.Waiter[Permit], s *slotWatcher) bool {
	if !w.Leave() {
		return false
	}
	var b *Backend
	if s != nil {
		b = s.b
	}
	d.left(w, b)
	return true
}

// rejectAll sends all who are in a line away.
func (d *slotQueue) rejectAll(line *queue.Line[Permit]) {
	for w := line.Oldest(); w != nil; w = line.Oldest() {
		d.grant(w, Permit{})
	}
}
