// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// noBackend is what is selected for a request that is refused. No request is sent to
// it: the transport says why there is no backend, where Caddy would only say that
// there is none.
var noBackend = &reverseproxy.Upstream{Dial: "none:0", Host: new(reverseproxy.Host)}

// Refuse has a placeholder say why there is no backend, counts that in the pool, and
// returns what a policy has to return then. The placeholder stands until another
// attempt is made. The proxy is nil where there is none, and the pool for a list.
func Refuse(req *http.Request, p *Proxy, pool *backend.Pool, reason backend.Reason) *reverseproxy.Upstream {
	if pool != nil {
		pool.Refuse(reason)
	}
	vars := vars(req.Context())
	if vars == nil {
		return nil
	}
	a := attemptsFor(req, vars)
	a.setReason(reason)
	switch {
	case p == nil, pool == nil: // Caddy's own checks judge a list, and count errors
		return nil
	case len(a.tried) > 0 && reason != backend.ReasonGone:
		return nil // Caddy tells of the attempt that has failed
	}
	a.refused = true
	return noBackend
}

// refusal is the answer to a request that was refused.
func (p *Proxy) refusal(req *http.Request, a *attempts, reason backend.Reason) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err // which Caddy logs as a 499
	}
	err := fmt.Errorf("no upstreams available: pool %s: %s", p.pool.Name, reason)
	if res := p.refuseGRPC(req, a, err.Error()); res != nil {
		return res, nil
	}
	// Nothing was sent, so it is tried again as when nobody listens.
	return nil, caddyhttp.Error(http.StatusServiceUnavailable, reverseproxy.NewDialError(err))
}

// foreignPolicy is a policy of Caddy or of others in a proxy with a pool. It is not
// asked for a backend when the pool has none.
type foreignPolicy struct{ reverseproxy.Selector }

// Select implements [reverseproxy.Selector].
func (f foreignPolicy) Select(upstreams reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if a := attemptsOf(r, vars(r.Context())); a != nil && a.refused {
		return noBackend
	}
	return f.Selector.Select(upstreams, r, w)
}

// Interface guards
var _ reverseproxy.Selector = foreignPolicy{}
