// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	weakrand "math/rand/v2"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// eligibleUpstreams returns the upstreams that a policy may choose from, or the reason why there are none. If it
// acquires a permit itself, it returns only the upstream of that permit.
func (s *Source) eligibleUpstreams(r *http.Request, tried []*backend.Backend) (upstreams []*reverseproxy.Upstream, reason pool.Reason) {
	group := proxyhook.GroupOf(r, s.pool.Pool)
	choose := func() (c backend.Permit, _ pool.Reason) {
		view := s.pool.View().Of(group)
		if s.pool.Saturated(group) {
			return c, ""
		}
		if c = view.ReserveTrial(tried, false); c.Backend != nil {
			return c, ""
		}
		if upstreams = usable(view, tried); len(upstreams) > 0 { // any of them: the permit holds no slot
			c.Backend = view.Members.Find(upstreams[0].Dial)
		}
		return c, ""
	}
	c, reason := s.pool.Choose(r.Context(), group, tried, choose, nil)
	switch {
	case reason != "":
		return nil, reason
	case len(upstreams) > 0:
		return upstreams, ""
	}
	proxyhook.Hold(r, c)
	return []*reverseproxy.Upstream{{Dial: c.Backend.Address}}, ""
}

// usable returns the usable backends of a tier. Backends that were tried are included only when
// no other is left.
func usable(view *pool.View, tried []*backend.Backend) []*reverseproxy.Upstream {
	first := 0
	if view.SpillsOver() {
		first = view.TierFor(weakrand.Float64())
	}
	for {
		for n := range view.Tiers {
			if upstreams := among(view, view.Tiers[view.TierOrder(first, n)].Backends, tried); len(upstreams) > 0 {
				return upstreams
			}
		}
		if tried == nil {
			return nil
		}
		tried = nil
	}
}

func among(view *pool.View, backends, tried []*backend.Backend) []*reverseproxy.Upstream {
	upstreams := make([]*reverseproxy.Upstream, 0, len(backends))
	for _, b := range backends {
		if view.Usable(b) && (len(tried) == 0 || !slices.Contains(tried, b) && view.NotOnTrial(b)) {
			upstreams = append(upstreams, &reverseproxy.Upstream{Dial: b.Address})
		}
	}
	return upstreams
}
