// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Backends returns the backends of a list of upstreams, in the order of the list, and their
// weights. A policy that has this one as its fallback uses it, so that both share the record of
// tried backends. The results are read-only, and are different slices when the list has
// changed.
func (a *Adapter) Backends(upstreams reverseproxy.UpstreamPool) (backends []*backend.Backend, weights []float64) {
	if len(upstreams) == 0 {
		return nil, nil
	}
	v := a.list.view(upstreams)
	return v.backends, v.weights
}
