// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// place is what a waiting request gets.
type place struct {
	ticket Ticket
	cause  Cause // why there is no ticket
}

// waiter is a waiting request.
type waiter = queue.Waiter[place]

// lines are the queues of waiting requests, one for each level. Normally the oldest request
// of the highest level is next. Under overload, when requests have waited for some time
// without a break, the newest is next: the oldest would be answered after its client has
// given up, and so would all requests behind it (adaptive LIFO and controlled delay, Maurer:
// Fail at Scale, 2015). Requests that have waited too long by then are refused.
type lines struct {
	of    [levels]queue.Line[place]
	n     int
	since time.Duration // start of the time without an empty queue
	empty time.Duration // when the queues were last emptied
	over  bool          // overload

	interval, target time.Duration
}

// targetPart is the part of the timeout that a request may wait under overload. Overload
// begins when requests have waited for the whole timeout without a break: the timeout is the
// operator's definition of a long wait.
const targetPart = 20

func (q *lines) patience(timeout time.Duration) {
	q.interval, q.target = timeout, timeout/targetPart
}

// overloaded reports whether requests have waited without a break for too long. Overload ends
// when the queues have been empty for the target time.
func (q *lines) overloaded(now time.Duration) bool {
	q.over = q.over || q.n > 0 && now-q.since > q.interval
	return q.over
}

func (q *lines) join(w *waiter, l Level) {
	if q.n == 0 {
		q.since = w.Since
		q.over = q.over && w.Since-q.empty <= q.target
	}
	q.of[l].Join(w)
	q.n++
}

func (q *lines) give(now time.Duration, w *waiter, p place) {
	w.Grant(p)
	q.gone(now)
}

// gone counts a request that waits no more.
func (q *lines) gone(now time.Duration) {
	if q.n--; q.n == 0 {
		q.empty = now
	}
}

// next returns the next request and its level, or nil.
func (q *lines) next(now time.Duration) (*waiter, Level) {
	for l := range q.of {
		if line := &q.of[l]; line.Len() > 0 {
			if q.overloaded(now) {
				return line.Newest(), Level(l)
			}
			return line.Oldest(), Level(l)
		}
	}
	return nil, 0
}

// expire refuses, under overload, the requests that have waited longer than the target.
func (q *lines) expire(now time.Duration) {
	if !q.overloaded(now) {
		return
	}
	for l := range q.of {
		for w := q.of[l].Oldest(); w != nil && now-w.Since > q.target; w = q.of[l].Oldest() {
			q.give(now, w, place{cause: CauseQueueDelay})
		}
	}
}

// makeRoom refuses a waiting request in favour of a new one of the given level: one of a
// lower level or, under overload, the oldest of the same level. It reports whether there was
// one.
func (q *lines) makeRoom(now time.Duration, l Level) bool {
	for low := levels - 1; low > l; low-- {
		if w := q.of[low].Newest(); w != nil {
			if q.overloaded(now) {
				w = q.of[low].Oldest()
			}
			q.give(now, w, place{cause: CauseOutranked})
			return true
		}
	}
	if w := q.of[l].Oldest(); w != nil && q.overloaded(now) {
		q.give(now, w, place{cause: CauseQueueDelay})
		return true
	}
	return false
}

// Wait queues a request that Admit has refused, if there is a queue, until it is admitted or
// refused. The clock must be that of Admit.
func (g *Gate) Wait(ctx context.Context, clock func() time.Duration, l Level) (Ticket, Cause) {
	if g.config.Queue == 0 {
		return Ticket{}, CauseLimit
	}
	now := clock()
	g.mu.Lock()
	g.lines.expire(now)
	if g.lines.n >= g.config.Queue && !g.lines.makeRoom(now, l) {
		g.mu.Unlock()
		return Ticket{}, CauseQueueFull
	}
	w := queue.NewWaiter[place](now)
	g.lines.join(w, l)
	g.waiting.Store(int64(g.lines.n))
	g.dispatch(now) // a request that left before this one joined has dispatched nothing
	g.mu.Unlock()
	p, outcome := w.Wait(ctx, g.config.Timeout, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		stood := w.Leave()
		if stood {
			g.lines.gone(clock())
			g.waiting.Store(int64(g.lines.n))
		}
		return stood
	})
	switch outcome {
	case queue.Expired:
		return Ticket{}, CauseQueueTimeout
	case queue.Left:
		return Ticket{}, CauseGone
	}
	if p.cause == "" {
		p.ticket.Since(clock())
	}
	return p.ticket, p.cause
}

// dispatch admits waiting requests while there is room. The caller holds g.mu.
func (g *Gate) dispatch(now time.Duration) {
	if g.lines.n == 0 {
		return
	}
	g.lines.expire(now)
	for {
		w, l := g.lines.next(now)
		if w == nil {
			break
		}
		t, cause := g.admit(now, l)
		if cause != "" {
			break
		}
		g.lines.give(now, w, place{ticket: t})
	}
	g.waiting.Store(int64(g.lines.n))
}
