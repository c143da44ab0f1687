// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"container/list"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// Timers are the delays of the races on one backend. They need one timer of the runtime together: nearly
// all requests are answered before they are late, and a timer for each wakes a thread that waits for the
// network. Safe for concurrent use. The zero value is ready.
type Timers struct {
	mu    sync.Mutex // guards the fields below
	waits list.List  // of *wait, by due
	timer *time.Timer
	at    time.Duration // when timer fires; 0 if it does not
}

// wait is the delay of a race.
type wait struct {
	race    *Race
	due     time.Duration
	element *list.Element // of Timers; nil unless it is in there
}

// start begins a wait. The delays on a backend are about the same, so it mostly is the last one.
func (q *Timers) start(w *wait, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.due = clock.Now() + delay
	before := q.waits.Back()
	for before != nil && before.Value.(*wait).due > w.due {
		before = before.Prev()
	}
	if before != nil {
		w.element = q.waits.InsertAfter(w, before)
	} else {
		w.element = q.waits.PushFront(w)
	}
	if q.at == 0 || w.due < q.at {
		q.arm(w.due, delay)
	}
}

// arm makes the timer fire at due, which is after delay.
func (q *Timers) arm(due, delay time.Duration) {
	q.at = due
	if q.timer == nil {
		q.timer = time.AfterFunc(delay, q.fire)
	} else {
		q.timer.Reset(delay)
	}
}

// stop ends a wait. The timer is left to fire: there may be other waits by then.
func (q *Timers) stop(w *wait) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove(w)
}

func (q *Timers) remove(w *wait) {
	if w.element != nil {
		q.waits.Remove(w.element)
		w.element = nil
	}
}

// fire begins the second attempts of the races that are late.
func (q *Timers) fire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := clock.Now()
	q.at = 0
	for first := q.waits.Front(); first != nil; first = q.waits.Front() {
		w := first.Value.(*wait)
		if w.due > now {
			q.arm(w.due, w.due-now)
			return
		}
		q.remove(w)
		go w.race.late()
	}
}
