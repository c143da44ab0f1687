// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// roster says which backend an [ID] stands for: in a view of a pool or in a list of
// upstreams. It is made once for each, so that a request costs the same whatever
// their number. Read-only.
type roster struct {
	members map[ID]member

	view    *backend.View               // nil for a list
	lenient bool                        // the view offers backends that are not eligible
	lists   []reverseproxy.UpstreamPool // of the view's tiers, for policies of Caddy

	backends  []*backend.Backend // of a list
	weights   []float64
	upstreams reverseproxy.UpstreamPool
	at        map[string]int // its positions, by address
}

// member is a backend that sessions may be bound to.
type member struct {
	*backend.Backend
	offered  bool // by the view
	at       int  // in the list
	sessions *occupancy
	recent   *recentSessions
}

// follow is told of each new view of the pool.
func (p *Sticky) follow(v *backend.View) {
	healthy, _ := v.Healthy()
	r := &roster{view: v, lenient: v.Panic || healthy == 0, members: make(map[ID]member, len(v.Members.All))}
	now := backend.Now()
	for _, b := range v.Members.All {
		id := IDOf(b.ID)
		r.members[id] = member{Backend: b, sessions: p.ledger.occupancy(id), recent: p.usage.sessions(id, now)}
	}
	for _, t := range v.Tiers {
		var list reverseproxy.UpstreamPool
		for _, b := range t.Backends {
			id := IDOf(b.ID)
			m := r.members[id]
			m.offered = true
			r.members[id] = m
			if p.foreign != nil {
				list = append(list, &b.Upstream)
			}
		}
		r.lists = append(r.lists, list)
	}
	for {
		old := p.roster.Load()
		if old != nil && old.view.Generation > v.Generation || p.roster.CompareAndSwap(old, r) {
			return
		}
	}
}

// rosterOf returns the roster of a list of upstreams.
func (p *Sticky) rosterOf(upstreams reverseproxy.UpstreamPool) *roster {
	backends, weights := p.lister.Backends(upstreams)
	if old := p.roster.Load(); old != nil && len(old.backends) == len(backends) && &old.backends[0] == &backends[0] {
		return old // the lister makes another slice when the list has changed
	}
	r := &roster{backends: backends, weights: weights, upstreams: upstreams, members: make(map[ID]member, len(backends)), at: make(map[string]int, len(backends))}
	now := backend.Now()
	for i, b := range backends {
		id := IDOf(b.ID)
		r.members[id] = member{Backend: b, at: i, sessions: p.ledger.occupancy(id), recent: p.usage.sessions(id, now)}
		r.at[b.Address] = i
	}
	p.roster.Store(r)
	return r
}

// fate is what becomes of a session because of its backend.
type fate int

const (
	kept fate = iota // it stays
	full             // its backend has as many requests as it may have
	down             // its backend cannot serve for now
	lost             // nor is it to: it is in maintenance
)

// fateOf returns the fate of the sessions of a backend. What an operator or an agent
// drains, and what has weight 0, is not offered, and keeps its sessions.
func (r *roster) fateOf(m member, upstreams reverseproxy.UpstreamPool) fate {
	if r.view == nil {
		switch u := upstreams[m.at]; {
		case !u.Healthy():
			return down
		case u.Full():
			return full
		}
		return kept
	}
	if m.offered && r.view.Usable(m.Backend) {
		return kept
	}
	switch {
	case adminOf(m.Backend) == backend.Maint:
		return lost
	case r.lenient && m.offered && m.Admitted():
	case !m.Up() || m.EjectionState() != backend.Healthy:
		return down
	}
	if limit := m.Limit(); limit > 0 && m.Taken() >= limit {
		return full
	}
	return kept
}

// adminOf returns what the operator and the agents of a backend want, whichever is
// the most.
func adminOf(b *backend.Backend) backend.Admin {
	admin := b.AdminState()
	if b.Admitted() {
		return admin
	}
	for _, v := range b.Statuses() {
		admin = max(admin, v.Admin())
	}
	return admin
}
