// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// A backend that joins a pool which serves without it is down until it has passed, so that a mistyped
// port, or a container that does not listen yet, gets no requests. One pass of each check is
// enough, as for Envoy's hosts that are pending active health checks. In a pool without checks, a
// discovered backend must accept a connection; one that was added was verified, unless that was
// turned off. While no other backend can serve, those that join do.

const (
	// firstDialBackoff and lastDialBackoff bound the time between two connections to a backend that
	// joins a pool without checks.
	firstDialBackoff = 100 * time.Millisecond
	lastDialBackoff  = 5 * time.Second
	// joinSpread bounds the time between the first probes of two backends that join.
	joinSpread = time.Millisecond
)

// mustPass reports whether a backend that joins must pass first, since its group, or the main group, which serves the
// requests of a group without backends, serves without it. The caller must hold p.mu.
func (p *Pool) mustPass(w *desiredMember) bool {
	v, serves := p.View(), false
	for _, i := range []int{group.Main, max(group.Main, p.Groups().Index(w.Group))} {
		healthy, _ := v.Of(i).Healthy()
		serves = serves || healthy > 0
	}
	return p.running && serves && !w.verified && (p.probes() || w.origin == membership.Discovered && p.transport.Dials())
}

// probes reports whether the pool has checks that test whether a backend works.
func (p *Pool) probes() bool {
	return slices.ContainsFunc(p.checks, func(c check) bool { return !c.steers() })
}

// joinKey identifies whether a backend is joining, which the members of all configurations share.
type joinKey struct{ backend.StateKey }

// beginJoin marks the backend as joining if it must pass and has not passed yet. Members of later configurations
// share the mark of the first one.
func (m *member) beginJoin(refs *shared.Refs, mustPass bool) {
	m.joining = shared.LoadOrNew(refs, joinKey{m.key}, func() *atomic.Bool {
		joining := new(atomic.Bool)
		joining.Store(mustPass)
		return joining
	})
	if m.SetJoining(m.joining.Load() && !m.passed()) {
		m.SwapAnnounced()
		m.pool.joining.Store(true)
	}
}

// passed reports whether each check of the pool has passed once; false without any.
func (m *member) passed() bool {
	for i, c := range m.pool.checks {
		if !c.steers() && !m.probers[i].Status.Passed() {
			return false
		}
	}
	return m.pool.probes()
}

// passedFirst is called at the first pass of a check: it wakes the control loop, which ends the join of the
// backend.
func (m *member) passedFirst() {
	if m.Joining() {
		m.pool.loop.wakeForStatus()
	}
}

// endJoin ends the join of the backend, and reports whether it was joining.
func (m *member) endJoin() (changed bool) {
	m.joining.Store(false)
	return m.SetJoining(false)
}

// endJoins ends the join of the members that have passed, and reports whether there was one.
func (p *Pool) endJoins() (changed bool) {
	if !p.joining.Load() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	left := false
	for _, m := range p.order {
		if m.Joining() && m.passed() {
			changed = m.endJoin() || changed
		}
		left = left || m.Joining()
	}
	p.joining.Store(left)
	return changed
}

// startDials begins to dial a backend that joins a pool without checks.
func (m *member) startDials() {
	if !m.Joining() || m.pool.probes() {
		return
	}
	backoff := firstDialBackoff
	m.dials.Run = func(ctx context.Context, _ *member) (afterwards func()) {
		err := m.pool.dial(ctx, m.pool.dialTarget(m.Address).Of(m.Backend))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			m.JoinFailed(err)
			return nil
		}
		return m.connected
	}
	m.dials.Interval = func(*member) time.Duration {
		wait := backoff
		backoff = min(2*backoff, lastDialBackoff)
		return wait
	}
	m.dials.Start(m)
}

// connected ends the join of a backend that has accepted a connection.
func (m *member) connected() {
	m.dials.Stop(m)
	if m.endJoin() {
		m.pool.loop.wakeForStatus()
	}
}
