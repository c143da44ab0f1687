// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Backends returns the backends of a list of upstreams, in its order. It is for a
// policy that has this one as its fallback, so that both mean the same by what was
// tried. The result is read-only, and another one when the list has changed.
func (a *Adapter) Backends(upstreams reverseproxy.UpstreamPool) []*backend.Backend {
	if len(upstreams) == 0 {
		return nil
	}
	return a.list.view(upstreams).backends
}
