// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	weakrand "math/rand/v2"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/queue"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// prepare opens the queue, or brings it up to date, for the options. It returns the watcher of
// Only or Preferred, if any. ok is false if the view does not have Only.
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

// watcherOf returns the watcher of a backend, or nil.
func (d *slotQueue) watcherOf(b *backend.Backend) *slotWatcher {
	for _, watcher := range b.Watchers() {
		if s, ok := watcher.(*slotWatcher); ok && s.queue == d {
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

// acquireFree acquires a free slot. It does not overtake the line: a free slot is one that no
// waiter could use.
func (d *slotQueue) acquireFree(w AcquireOptions, s *slotWatcher) (c backend.Permit, ok bool) {
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
	for _, tried := range [][]*backend.Backend{w.Tried, nil} {
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

// acquireAny acquires a slot of a random free backend of a tier. It skips backends in tried and
// those on trial, at most len(tried)+tiers.MaxTrials of them.
func (d *slotQueue) acquireAny(tier int, tried []*backend.Backend) (backend.Permit, bool) {
	for passed := 0; passed < len(d.free[tier]) && passed <= len(tried)+tiers.MaxTrials; {
		list := d.free[tier]
		s := list[weakrand.IntN(len(list)-passed)]
		if len(tried) > 0 && (slices.Contains(tried, s.b) || !d.view.NotOnTrial(s.b)) {
			last := list[len(list)-1-passed] // moves it to the end, out of the range of the next draw
			list[s.index], list[last.index] = last, s
			s.index, last.index = last.index, s.index
			passed++
			continue
		}
		if c, ok := d.acquire(s); ok {
			return c, true
		}
	}
	return backend.Permit{}, false
}

// acquire acquires a slot of a backend, and updates the list of free backends.
func (d *slotQueue) acquire(s *slotWatcher) (c backend.Permit, ok bool) {
	if d.view.Usable(s.b) {
		c, ok = d.view.Reserve(s.b)
	}
	if !ok || !d.view.Usable(s.b) {
		d.markBusy(s)
	}
	return c, ok
}

// accepts reports whether a request that has tried these backends may get b. It may not get b
// again while there is another backend, nor the trial of b.
func (d *slotQueue) accepts(tried []*backend.Backend, b *backend.Backend) bool {
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

// join adds a request to the common line, or to the line of its backend.
func (d *slotQueue) join(w AcquireOptions, s *slotWatcher) *queue.Waiter[backend.Permit] {
	// The clock of the lines is a count, because several requests may come at the same time.
	d.joined++
	waiter := queue.NewWaiter[backend.Permit](d.joined)
	d.waiting++
	if w.Only == nil {
		if len(w.Tried) > 0 {
			if d.triedBy == nil {
				d.triedBy = make(map[*queue.Waiter[backend.Permit]][]*backend.Backend)
			}
			d.triedBy[waiter] = w.Tried
		}
		d.line.Join(waiter)
		return waiter
	}
	if d.bound == nil {
		d.bound = make(map[*backend.Backend]*queue.Line[backend.Permit])
	}
	if d.bound[s.b] == nil {
		d.bound[s.b] = new(queue.Line[backend.Permit])
	}
	d.bound[s.b].Join(waiter)
	s.watch()
	d.watching.Store(true)
	return waiter
}

// maxSkipped is the most waiters that are skipped for one slot because they have already tried its backend.
const maxSkipped = 64

// next returns the waiter that has waited longest for a slot of a backend, or nil.
func (d *slotQueue) next(s *slotWatcher) *queue.Waiter[backend.Permit] {
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

// grant delivers a permit to a waiter. The zero permit tells it to give up.
func (d *slotQueue) grant(w *queue.Waiter[backend.Permit], c backend.Permit) {
	w.Grant(c)
	d.left(w, c.Backend)
}

// left removes the state of a waiter that has left the common line, or the line of backend b.
func (d *slotQueue) left(w *queue.Waiter[backend.Permit], b *backend.Backend) {
	delete(d.triedBy, w)
	d.waiting--
	if line := d.bound[b]; line != nil && line.Len() == 0 {
		delete(d.bound, b)
		if s := d.watcherOf(b); s != nil && !d.open.Load() {
			s.unwatch()
		}
	}
}

// leave removes a waiter that gives up from its line. It returns false if the waiter has been
// granted a permit.
func (d *slotQueue) leave(w *queue.Waiter[backend.Permit], s *slotWatcher) bool {
	if !w.Leave() {
		return false
	}
	var b *backend.Backend
	if s != nil {
		b = s.b
	}
	d.left(w, b)
	return true
}

// rejectAll grants the zero permit to all waiters of a line.
func (d *slotQueue) rejectAll(line *queue.Line[backend.Permit]) {
	for w := line.Oldest(); w != nil; w = line.Oldest() {
		d.grant(w, backend.Permit{})
	}
}
