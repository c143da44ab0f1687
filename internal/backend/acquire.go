// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"context"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// AcquireOptions is what a request wants of a pool whose backends are full.
type AcquireOptions struct {
	// Tried are the backends that the request has been sent to. It gets another
	// while there is one.
	Tried []*Backend
	// Preferred is the backend to have if it has a free slot; nil for any.
	Preferred *Backend
	// Only is the backend to have and no other; nil for any.
	Only *Backend
	// MaySpill says that another backend will do if the queue has no room for a request that
	// waits for Only, or if that stops serving meanwhile. Then there is neither a claim nor
	// a reason.
	MaySpill bool
}

// Saturated reports whether requests have to ask the pool for a backend, see
// [Pool.Acquire], because none is free, or nearly none.
func (p *Pool) Saturated() bool { return p.queue.open.Load() }

// Acquire claims a backend of a pool that is saturated, or in which none was found.
// If all are full, it waits as the pool's rules say. Without a claim it says why. A
// claim may come though ctx has ended meanwhile.
func (p *Pool) Acquire(ctx context.Context, w AcquireOptions) (c Permit, reason Reason) {
	d, none := &p.queue, func() Reason { return cmp.Or(p.View().Reason, ReasonDown) }
	if w.Only == nil && !p.Saturated() && !p.View().serves() {
		return Permit{}, none()
	}
	d.mu.Lock()
	s, ok := d.prepare(w)
	if ok {
		c, ok = d.acquireFree(w, s)
	}
	if ok {
		d.closeIfIdle()
		d.mu.Unlock()
		return c, ""
	}
	switch {
	case ctx.Err() != nil:
		reason = ReasonGone
	case d.rules.Size == 0 || w.Only != nil && s == nil:
		reason = ReasonFull
	case d.waiting >= d.rules.Size:
		reason = ReasonQueueFull
	}
	if reason != "" {
		d.closeIfIdle()
		d.mu.Unlock()
		if w.MaySpill && reason != ReasonGone {
			return Permit{}, ""
		}
		return Permit{}, reason
	}
	waiter := d.join(w, s)
	d.mu.Unlock()
	p.counters.queued.Add(1)
	began := clock.Now()
	c, outcome := waiter.Wait(ctx, d.rules.Timeout, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		defer d.closeIfIdle()
		return d.leave(waiter, s)
	})
	p.counters.addWait(clock.Now() - began)
	switch {
	case outcome == queue.Expired:
		reason = ReasonQueueTimeout
	case outcome == queue.Left:
		reason = ReasonGone
	case c.Backend == nil && w.MaySpill:
		return c, ""
	case c.Backend == nil:
		return c, none()
	default:
		return c, ""
	}
	return c, reason
}
