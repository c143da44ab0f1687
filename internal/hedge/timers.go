// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// Timers are the delays of the races on one backend. They need one timer of the runtime together: nearly
// all requests are answered before they are late, and a timer for each costs more than all else that a
// race does, as it wakes a thread that waits for the network. Safe for concurrent use. The zero value is
// ready.
type Timers struct {
	mu          sync.Mutex // guards the fields below, and the waits
	first, last *wait      // by due
	timer       *time.Timer
	at          time.Duration // when timer fires; 0 if it does not
}

// wait is the delay of a race.
type wait struct {
	race           *Race
	due            time.Duration
	earlier, later *wait
	queued         bool
}

// start begins a wait. The delays on a backend are about the same, so it mostly is the last one.
func (q *Timers) start(w *wait, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.due, w.queued = clock.Now()+delay, true
	w.earlier = q.last
	for w.earlier != nil && w.earlier.due > w.due {
		w.earlier = w.earlier.earlier
	}
	if w.earlier != nil {
		w.later, w.earlier.later = w.earlier.later, w
	} else {
		w.later, q.first = q.first, w
	}
	if w.later != nil {
		w.later.earlier = w
	} else {
		q.last = w
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
	if !w.queued {
		return
	}
	w.queued = false
	if w.earlier != nil {
		w.earlier.later = w.later
	} else {
		q.first = w.later
	}
	if w.later != nil {
		w.later.earlier = w.earlier
	} else {
		q.last = w.earlier
	}
	w.earlier, w.later = nil, nil
}

// fire begins the second attempts of the races that are late.
func (q *Timers) fire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := clock.Now()
	for w := q.first; w != nil && w.due <= now; w = q.first {
		q.remove(w)
		go w.race.late()
	}
	if q.at = 0; q.first != nil {
		q.arm(q.first.due, q.first.due-now)
	}
}
