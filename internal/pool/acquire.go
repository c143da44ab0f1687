// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"context"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/queue"
)

// AcquireOptions are the requirements of a request to [Pool.Acquire].
type AcquireOptions struct {
	// Tried are the backends that have already failed this request. Acquire prefers any other
	// backend.
	Tried []*backend.Backend
	// Preferred is used if it has a free slot; nil for no preference.
	Preferred *backend.Backend
	// Only restricts the request to one backend, such as that of its session; nil for any.
	Only *backend.Backend
	// MaySpill allows another backend when the queue is too full for a request that waits for
	// Only, or when Only stops serving meanwhile. Acquire then returns neither a permit nor a
	// reason, and the caller chooses another backend.
	MaySpill bool
	// Group is the index of the group of the request; with Only, of the backend.
	Group int
}

// Saturated reports whether no slot of a group, or almost none, is free. Requests then get their
// backend from [Pool.Acquire] instead of the view.
func (p *Pool) Saturated(group int) bool { return p.groups[group].queue.open.Load() }

// Acquire returns a permit of a saturated pool, or of a pool in whose view the policy found no
// backend. If all backends are full, it waits in the queue within [QueueRules]. Without a permit
// it returns the reason. It may return a permit although ctx has ended meanwhile.
func (p *Pool) Acquire(ctx context.Context, w AcquireOptions) (c backend.Permit, reason Reason) {
	if w.Only != nil {
		w.Group = max(p.GroupOf(w.Only), group.Main)
	}
	d, none := &p.groups[w.Group].queue, func() Reason { return cmp.Or(p.View().Of(w.Group).Reason, ReasonDown) }
	if w.Only == nil && !p.Saturated(w.Group) && !p.View().Of(w.Group).serves() {
		return backend.Permit{}, none()
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
			return backend.Permit{}, ""
		}
		return backend.Permit{}, reason
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
	c.Waited = clock.Now() - began
	p.counters.addWait(c.Waited)
	switch {
	case outcome == queue.Expired:
		return c, ReasonQueueTimeout
	case outcome == queue.Left:
		return c, ReasonGone
	case c.Backend == nil && !w.MaySpill:
		return c, none()
	}
	return c, ""
}
