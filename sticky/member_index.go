// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// memberIndex maps each [ID] to its backend in a view of a pool or in a list of upstreams. It
// is built once for each, so that the cost of a request does not depend on their number. It is
// read-only.
type memberIndex struct {
	members map[ID]boundBackend

	view  *pool.View                    // nil for a list
	lists [][]reverseproxy.UpstreamPool // of the tiers of each group of the view, for policies of Caddy

	backends  []*backend.Backend // of a list; nil for a pool
	weights   []float64
	upstreams reverseproxy.UpstreamPool
	at        map[string]int // index in backends, by address
}

// boundBackend is a backend that sessions may be bound to.
type boundBackend struct {
	*backend.Backend
	offered  bool // in a tier of the view
	at       int  // index in the list
	group    int  // index in the pool; -1 if it has no such group
	sessions *sessionCount
	recent   *recentSessions
}

// useView builds the index of a new view of the pool.
func (p *Sticky) useView(v *pool.View) {
	r := &memberIndex{view: v, members: make(map[ID]boundBackend, len(v.Members.All))}
	now := clock.Now()
	for _, b := range v.Members.All {
		id := idOf(b)
		r.members[id] = boundBackend{Backend: b, group: p.pool.GroupOf(b), sessions: p.stats.sessionsOf(id), recent: p.usage.sessions(id, now)}
	}
	for _, part := range v.EachGroup() {
		var lists []reverseproxy.UpstreamPool
		for _, t := range part.Tiers {
			var list reverseproxy.UpstreamPool
			for _, b := range t.Backends {
				id := idOf(b)
				m := r.members[id]
				m.offered = true
				r.members[id] = m
				if p.fallbackName != nil {
					list = append(list, &b.Upstream)
				}
			}
			lists = append(lists, list)
		}
		r.lists = append(r.lists, lists)
	}
	for {
		old := p.index.Load()
		if old != nil && old.view.Generation > v.Generation || p.index.CompareAndSwap(old, r) {
			break
		}
	}
	p.checkWindow(time.Now()) // without requests, too, or the counts of backends that come and go would pile up
}

// listIndex returns the index of a list of upstreams.
func (p *Sticky) listIndex(upstreams reverseproxy.UpstreamPool) *memberIndex {
	backends, weights := p.list.Backends(upstreams)
	if old := p.index.Load(); old != nil && len(old.backends) == len(backends) && &old.backends[0] == &backends[0] {
		return old // listProvider returns another slice when the list has changed
	}
	r := &memberIndex{backends: backends, weights: weights, upstreams: upstreams, members: make(map[ID]boundBackend, len(backends)), at: make(map[string]int, len(backends))}
	now := clock.Now()
	for i, b := range backends {
		id := idOf(b)
		r.members[id] = boundBackend{Backend: b, at: i, sessions: p.stats.sessionsOf(id), recent: p.usage.sessions(id, now)}
		r.at[b.Address] = i
	}
	p.index.Store(r)
	return r
}

// viewOf returns the view of the group of a backend.
func (r *memberIndex) viewOf(m boundBackend) *pool.View {
	return r.view.Of(max(m.group, group.Main))
}

// affinity is whether a session can stay with its backend.
type affinity int

const (
	affinityKept affinity = iota // the session stays
	affinityFull                 // the backend is at its limit
	affinityDown                 // the backend cannot serve for now
	affinityLost                 // the backend is in maintenance or removed
)

// affinityOf returns the affinity of the sessions of a backend. A backend that an operator or
// an agent drains, or whose weight is 0, is not offered, but keeps its sessions.
func (r *memberIndex) affinityOf(m boundBackend, upstreams reverseproxy.UpstreamPool) affinity {
	if r.view == nil {
		switch u := upstreams[m.at]; {
		case !u.Healthy():
			return affinityDown
		case u.Full():
			return affinityFull
		}
		return affinityKept
	}
	view := r.viewOf(m)
	if m.offered && view.Usable(m.Backend) {
		return affinityKept
	}
	switch admin, _ := m.Admin(); {
	case admin == health.Maint:
		return affinityLost
	case view.Lenient() && m.offered && m.Admitted():
	case !m.Up() || m.EjectionState() != outlier.Healthy:
		return affinityDown
	}
	if m.Full() {
		return affinityFull
	}
	return affinityKept
}
