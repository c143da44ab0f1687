// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// checkWindow ends the window when it is over, in the background.
func (p *Sticky) checkWindow(now time.Time) {
	if !p.stats.windowEnded(now.UnixNano()) {
		return
	}
	p.inBackground(p.endWindow)
}

func (p *Sticky) endWindow() {
	r := p.index.Load()
	if r == nil {
		return
	}
	isMember := func(id ID) bool { _, ok := r.members[id]; return ok }
	groups := []float64{1}
	if p.pool != nil {
		groups = p.pool.Groups().Shares()
	}
	p.stats.endWindow(r.shares(groups), p.Rebalance, isMember)
	p.usage.forget(clock.Now(), isMember)
}

// recordUse counts a session of a backend as used.
func (p *Sticky) recordUse(id ID, k Key) {
	if r := p.index.Load(); r != nil {
		if m, ok := r.members[id]; ok {
			m.recent.add(k, clock.Now())
		}
	}
}

// shares returns, with the shares of the groups, the fair share of the sessions of each backend that may take new ones, and
// none in panic. A backend that waits for its trial is included: if all requests have sessions,
// the first session that returns to it is the trial.
func (r *memberIndex) shares(groups []float64) map[ID]float64 {
	shares := make(map[ID]float64)
	add := func(backends []*backend.Backend, weights []float64, all float64, takes func(i int) bool) {
		sum := 0.0
		for i := range backends {
			if takes(i) {
				sum += weights[i]
			}
		}
		for i, b := range backends {
			if takes(i) && sum > 0 {
				shares[idOf(b)] = all * weights[i] / sum
			}
		}
	}
	if r.view == nil {
		add(r.backends, r.weights, 1, func(i int) bool { return r.upstreams[i].Healthy() })
		return shares
	}
	for i, view := range r.view.EachGroup() {
		if view.Lenient() {
			continue
		}
		before := 0.0
		for _, t := range view.Tiers {
			add(t.Backends, t.Weights, groups[i]*(t.Share-before), func(int) bool { return true })
			before = t.Share
		}
	}
	return shares
}

// rebalanceTarget returns the backend to which a session of an overloaded backend should move
// now, if any.
func (p *Sticky) rebalanceTarget(q *request, s session, m boundBackend, now time.Time) (to boundBackend, ok bool) {
	if p.Rebalance == 0 || q.retry() || m.sessions.quota.Load() <= 0 {
		return to, false
	}
	if idle := now.Unix() - s.Seen; idle < minIdle(p.lifetimes().grain(), p.stats.passed(now.UnixNano())) {
		return to, false
	}
	id, ok := p.stats.plan.Load().target(s.key)
	if !ok {
		return to, false
	}
	to, ok = q.members[id]
	return to, ok && to.group == m.group && q.affinityOf(to, q.upstreams) == affinityKept
}

// rebalance moves a session to its rebalanceTarget. It returns nil if the session stays.
func (p *Sticky) rebalance(q *request, s session, m boundBackend, now time.Time) *reverseproxy.Upstream {
	to, ok := p.rebalanceTarget(q, s, m, now)
	if !ok || m.sessions.quota.Add(-1) < 0 {
		return nil
	}
	u := &to.Upstream
	if q.view == nil {
		u = q.upstreams[to.at]
		proxyhook.SetAttempt(q.Request, backend.Permit{Backend: to.Backend}, policyName, 1)
	} else {
		c, ok := q.viewOf(to).Reserve(to.Backend)
		if !ok {
			m.sessions.quota.Add(1)
			return nil
		}
		proxyhook.SetAttempt(q.Request, c, policyName, 1)
	}
	q.setOutcome(sessionMoved)
	return p.useWinner(q, u, to.Backend, p.sessions.bind(q.Request, s, idOf(to.Backend)))
}
