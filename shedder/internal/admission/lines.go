// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// place is what a request that waits is given.
type place struct {
	ticket Ticket
	cause  Cause // why it gets none
}

// waiter is a request that waits.
type waiter = queue.Waiter[place]

// lines are those who wait, by level. In calm the oldest of the highest level is
// next. While requests have waited without a break for some time, the newest is:
// the oldest would be answered when their clients no longer wait, and so would
// everybody behind them (adaptive LIFO and controlled delay, Maurer: Fail at
// Scale, 2015). Those that have waited too long by then are refused.
type lines struct {
	of    [levels]queue.Line[place]
	n     int
	since time.Duration // since when requests wait without a break
	empty time.Duration // when the last one had been let in, or had left
	over  bool          // it is overload

	interval, target time.Duration
}

// targetPart is which part of the timeout each may wait in overload. Overload it is
// when requests have waited without a break for all of it: who says how long one
// may wait has said what is long.
const targetPart = 20

func (q *lines) patience(timeout time.Duration) {
	q.interval, q.target = timeout, timeout/targetPart
}

// overloaded reports whether requests have waited without a break for too long.
// That is over when for as long as one may wait then, none has.
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

// gone counts that one waits no more.
func (q *lines) gone(now time.Duration) {
	if q.n--; q.n == 0 {
		q.empty = now
	}
}

// next returns who is next, and of what level, or nil.
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

// expire refuses those that have waited too long for a time of overload.
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

// makeRoom refuses one that waits in favour of a newcomer of the given level, and
// reports whether there was one: of a lower level or, in overload, the oldest of
// the same.
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

// Wait waits for a request to be let in that Admit has refused, if there is a
// queue. The clock tells the time as Admit's.
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
	g.dispatch(now) // who left before this one was seen to wait, has woken nobody
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

// dispatch lets in as many of those that wait as there is room for. The caller
// holds g.mu.
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
