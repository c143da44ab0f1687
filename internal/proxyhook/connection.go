// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Take returns the attempt that a policy has selected for a connection of pool p, and adds its backend to those
// that were tried. The permit holds a slot, so the attempt must be made. Without a selection, or without a slot,
// Take returns the reason.
func Take(r *http.Request, p *pool.Pool, selected bool) (c backend.Permit, to backend.Affinity, try int, reason pool.Reason) {
	a := attemptsFor(r, vars(r.Context()))
	if !selected {
		return c, 0, 0, a.reason
	}
	b, proxy := a.backend, Proxy{pool: p}
	if _, reason = proxy.begin(r.Context(), a, b); reason != "" {
		return c, 0, 0, reason
	}
	if len(a.tried) > 0 {
		b.CountRetry()
	} else {
		p.CountRequest()
	}
	a.addTried(b)
	return backend.Permit{Backend: b, Slot: true, Waited: a.waited}, a.affinity, len(a.tried), ""
}
