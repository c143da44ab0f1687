// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	weakrand "math/rand/v2"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/caddypolicies"
)

// choose lets the fallback policy choose a backend. The backend is nil if there is none, or if the client has left;
// u is then the result to return.
func (p *Sticky) choose(q *request) (u *reverseproxy.Upstream, b *backend.Backend) {
	if q.view != nil && q.group != group.Main && len(q.part().Tiers) == 0 {
		q.setGroup(group.Main)
	}
	switch {
	case p.fallbackName == nil:
		u = p.fallback.Select(q.upstreams, q.Request, q.w)
	case p.pool == nil:
		return p.chooseFromList(q)
	default:
		return p.chooseFromPool(q)
	}
	if u == nil || q.Context().Err() != nil {
		return u, nil
	}
	if p.pool != nil {
		return u, q.view.Members.Find(u.Dial)
	}
	return u, q.backendAt(u)
}

// backendAt returns the backend of an upstream of a list, or nil.
func (r *memberIndex) backendAt(u *reverseproxy.Upstream) *backend.Backend {
	if i, ok := r.at[u.Dial]; ok {
		return r.backends[i]
	}
	return nil
}

// pickFallback calls a policy of Caddy. The policy shares the upstreams, since none of Caddy's policies
// writes to them (selectionpolicies.go of v2.11.9).
func (p *Sticky) pickFallback(list reverseproxy.UpstreamPool, q *request) *reverseproxy.Upstream {
	w := q.w
	if w == nil {
		w = discardWriter{} // Caddy's policy `cookie` needs a writer
	}
	return p.fallback.Select(list, q.Request, w)
}

// chooseFromList lets a policy of Caddy choose from a list, without the backends already tried while there are
// others.
func (p *Sticky) chooseFromList(q *request) (*reverseproxy.Upstream, *backend.Backend) {
	list := q.upstreams
	if q.retry() {
		list = nil
		for _, u := range q.upstreams {
			if u.Available() && !slices.Contains(q.tried, q.backendAt(u)) {
				list = append(list, u)
			}
		}
		if len(list) == 0 {
			list = q.upstreams
		}
	}
	u := p.pickFallback(list, q)
	if u == nil {
		return p.refuse(q.Request, pool.ReasonDown), nil
	}
	b := q.backendAt(u)
	if b != nil {
		proxyhook.SetAttempt(q.Request, backend.Permit{Backend: b}, p.fallbackName, len(q.tried)+1)
	}
	return u, b
}

// chooseFromPool lets a policy of Caddy choose from a pool.
func (p *Sticky) chooseFromPool(q *request) (*reverseproxy.Upstream, *backend.Backend) {
	choose := func() (c backend.Permit, _ pool.Reason) {
		if !p.pool.Saturated(q.group) {
			c = p.reserveFromTiers(q)
		}
		return c, ""
	}
	c, reason := p.pool.Choose(q.Context(), q.group, q.tried, choose, nil)
	if c.Backend == nil {
		return p.refuse(q.Request, reason), nil
	}
	proxyhook.SetAttempt(q.Request, c, p.fallbackName, len(q.tried)+1)
	proxyhook.Bind(q.Request, caddypolicies.AffinityOf(p.fallbackName))
	return &c.Backend.Upstream, c.Backend
}

// maxAsks bounds the calls of the policy while other requests take the slots of its choices.
const maxAsks = 8

// reserveFromTiers reserves the backend that the policy chooses. As in Ballast's own policies, a
// backend that waits for a trial comes first, and backends already tried come last.
func (p *Sticky) reserveFromTiers(q *request) backend.Permit {
	view, lists := q.part(), q.lists[q.group]
	if c := view.ReserveTrial(q.tried, false); c.Backend != nil {
		return c
	}
	first := 0
	if view.SpillsOver() {
		first = view.TierFor(weakrand.Float64())
	}
	for _, avoid := range [][]*backend.Backend{q.tried, nil} {
		for n := range view.Tiers {
			list := lists[view.TierOrder(first, n)]
			for range maxAsks {
				u := p.pickFallback(list, q)
				if u == nil {
					break
				}
				if b := q.view.Members.Find(u.Dial); b != nil && q.usable(b, avoid) {
					if c, ok := view.Reserve(b); ok {
						return c
					}
				}
				if list = q.among(list, avoid); len(list) == 0 {
					break
				}
			}
		}
		if len(avoid) == 0 {
			break
		}
	}
	return backend.Permit{}
}

func (q *request) usable(b *backend.Backend, avoid []*backend.Backend) bool {
	return q.part().Usable(b) && (len(avoid) == 0 || !slices.Contains(avoid, b) && q.part().NotOnTrial(b))
}

// among returns the usable upstreams of a list.
func (q *request) among(list reverseproxy.UpstreamPool, avoid []*backend.Backend) (left reverseproxy.UpstreamPool) {
	for _, u := range list {
		if b := q.view.Members.Find(u.Dial); b != nil && q.usable(b, avoid) {
			left = append(left, u)
		}
	}
	return left
}

// discardWriter is an [http.ResponseWriter] that drops what is written to it.
type discardWriter struct{}

// Header implements [http.ResponseWriter].
func (discardWriter) Header() http.Header { return make(http.Header) }

// Write implements [http.ResponseWriter].
func (discardWriter) Write(data []byte) (int, error) { return len(data), nil }

// WriteHeader implements [http.ResponseWriter].
func (discardWriter) WriteHeader(int) {}
