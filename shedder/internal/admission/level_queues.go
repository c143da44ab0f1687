// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// grant is the result for a waiting request.
type grant struct {
	ticket Ticket
	cause  Cause // why there is no ticket
}

// waiter is a waiting request.
type waiter = queue.Waiter[grant]

// levelQueues are the queues of waiting requests, one for each level. Normally the oldest request
// of the highest level is next. Under overload, when requests have waited for some time without a
// break, the newest is next: the oldest would be answered after its client has timed out, and so
// would all requests behind it (adaptive LIFO and controlled delay, Maurer: Fail at Scale, 2015).
// Requests that have waited too long by then are refused.
type levelQueues struct {
	byLevel   [levels]queue.Line[grant]
	total     int
	since     time.Duration // start of the time without an empty queue
	emptiedAt time.Duration // when the queues were last emptied
	overload  bool

	interval, target time.Duration
}

// targetPart is the part of the timeout that a request may wait under overload. Overload
// begins when requests have waited for the whole timeout without a break: the timeout is the
// operator's definition of a long wait.
const targetPart = 20

func (q *levelQueues) setTimeout(timeout time.Duration) {
	q.interval, q.target = timeout, timeout/targetPart
}

// overloaded reports whether requests have waited without a break for too long. Overload ends
// when the queues have been empty for the target time.
func (q *levelQueues) overloaded(now time.Duration) bool {
	q.overload = q.overload || q.total > 0 && now-q.since > q.interval
	return q.overload
}

func (q *levelQueues) join(w *waiter, l Level) {
	if q.total == 0 {
		q.since = w.Since
		q.overload = q.overload && w.Since-q.emptiedAt <= q.target
	}
	q.byLevel[l].Join(w)
	q.total++
}

func (q *levelQueues) grant(now time.Duration, w *waiter, p grant) {
	w.Grant(p)
	q.leave(now)
}

// leave counts a request that has left the queue.
func (q *levelQueues) leave(now time.Duration) {
	if q.total--; q.total == 0 {
		q.emptiedAt = now
	}
}

// next returns the next request and its level, or nil.
func (q *levelQueues) next(now time.Duration) (*waiter, Level) {
	for l := range q.byLevel {
		if line := &q.byLevel[l]; line.Len() > 0 {
			if q.overloaded(now) {
				return line.Newest(), Level(l)
			}
			return line.Oldest(), Level(l)
		}
	}
	return nil, 0
}

// expire refuses, under overload, the requests that have waited longer than the target.
func (q *levelQueues) expire(now time.Duration) {
	if !q.overloaded(now) {
		return
	}
	for l := range q.byLevel {
		for w := q.byLevel[l].Oldest(); w != nil && now-w.Since > q.target; w = q.byLevel[l].Oldest() {
			q.grant(now, w, grant{cause: CauseQueueDelay})
		}
	}
}

// makeRoom refuses a waiting request in favour of a new one of the given level: one of a lower
// level or, under overload, the oldest of the same level. It reports whether it has refused one.
func (q *levelQueues) makeRoom(now time.Duration, l Level) bool {
	for low := levels - 1; low > l; low-- {
		if w := q.byLevel[low].Newest(); w != nil {
			if q.overloaded(now) {
				w = q.byLevel[low].Oldest()
			}
			q.grant(now, w, grant{cause: CauseOutranked})
			return true
		}
	}
	if w := q.byLevel[l].Oldest(); w != nil && q.overloaded(now) {
		q.grant(now, w, grant{cause: CauseQueueDelay})
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
	g.queues.expire(now)
	if g.queues.total >= g.config.Queue && !g.queues.makeRoom(now, l) {
		g.mu.Unlock()
		return Ticket{}, CauseQueueFull
	}
	w := queue.NewWaiter[grant](now)
	g.queues.join(w, l)
	g.waiting.Store(int64(g.queues.total))
	g.dispatch(now) // a slot that was released before this request joined has not been dispatched
	g.mu.Unlock()
	p, outcome := w.Wait(ctx, g.config.Timeout, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		waiting := w.Leave()
		if waiting {
			g.queues.leave(clock())
			g.waiting.Store(int64(g.queues.total))
		}
		return waiting
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

// dispatch admits waiting requests while slots are free. The caller must hold g.mu.
func (g *Gate) dispatch(now time.Duration) {
	if g.queues.total == 0 {
		return
	}
	g.queues.expire(now)
	for {
		w, l := g.queues.next(now)
		if w == nil {
			break
		}
		t, cause := g.admit(now, l)
		if cause != "" {
			break
		}
		g.queues.grant(now, w, grant{ticket: t})
	}
	g.waiting.Store(int64(g.queues.total))
}
