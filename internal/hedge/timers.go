// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// Timers are the delays of the races on one backend. They share one timer of the runtime: nearly all requests are answered
// before they are late, and a timer for each would wake a thread that waits for the network. Safe for concurrent use. The
// zero value is ready.
type Timers struct {
	mu          sync.Mutex // guards the fields below, and those of the waits
	first, last *wait      // by due; nil for none
	timer       *time.Timer
	at          time.Duration // when timer fires; 0 if it does not
}

// wait is the delay of a race. It is its own element of the list, which saves an allocation for each
// request.
type wait struct {
	race           *Race
	due            time.Duration
	previous, next *wait
	listed         bool
}

// start begins a wait. The delays on a backend are similar, so a new wait usually is the last in the list.
func (q *Timers) start(w *wait, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.due = clock.Now() + delay
	before := q.last
	for before != nil && before.due > w.due {
		before = before.previous
	}
	q.insert(w, before)
	if q.at == 0 || w.due < q.at {
		q.arm(w.due, delay)
	}
}

// arm sets the timer to fire after delay, at the time due.
func (q *Timers) arm(due, delay time.Duration) {
	q.at = due
	if q.timer == nil {
		q.timer = time.AfterFunc(delay, q.fire)
	} else {
		q.timer.Reset(delay)
	}
}

// stop ends a wait. The timer keeps running, since there may be other waits when it fires.
func (q *Timers) stop(w *wait) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove(w)
}

// insert adds a wait after another, or as the first one after nil.
func (q *Timers) insert(w, after *wait) {
	w.listed, w.previous, w.next = true, after, q.first
	if after == nil {
		q.first = w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		q.last = w
	} else {
		w.next.previous = w
	}
}

// remove removes a wait if it is listed.
func (q *Timers) remove(w *wait) {
	if !w.listed {
		return
	}
	if w.previous == nil {
		q.first = w.next
	} else {
		w.previous.next = w.next
	}
	if w.next == nil {
		q.last = w.previous
	} else {
		w.next.previous = w.previous
	}
	w.listed, w.previous, w.next = false, nil, nil
}

// fire begins the second attempts of the races that are late.
func (q *Timers) fire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := clock.Now()
	q.at = 0
	for w := q.first; w != nil; w = q.first {
		if w.due > now {
			q.arm(w.due, w.due-now)
			return
		}
		q.remove(w)
		go w.race.late()
	}
}
