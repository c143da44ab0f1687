// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/hedge"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// noBackend is the upstream that is selected for a refused request. No request is sent to it. The
// transport returns an error with the reason, whereas Caddy's own error would have none.
var noBackend = &reverseproxy.Upstream{Dial: "none:0", Host: new(reverseproxy.Host)}

// Refuse records why a request has no backend: it sets the placeholder of the reason, until the next attempt, and
// counts the refusal in the pool, unless it concerns a second attempt: the request has its first one. It returns the upstream that the policy must return. p is nil without a proxy, of
// is nil for a list.
func Refuse(req *http.Request, p *Proxy, of *pool.Pool, reason pool.Reason) *reverseproxy.Upstream {
	if of != nil && !hedge.IsSecond(req.Context()) {
		of.Refuse(reason)
	}
	vars := vars(req.Context())
	if vars == nil {
		return nil
	}
	a := attemptsFor(req, vars)
	a.setRefusal(of, reason)
	switch {
	case p == nil, of == nil: // Caddy's own checks apply to a list, and count errors
		return nil
	case len(a.tried) > 0 && reason != pool.ReasonGone:
		return nil // Caddy reports the attempt that failed
	}
	a.refused = true
	return noBackend
}

// refusal returns the answer to a refused request with context ctx.
func (p *Proxy) refusal(ctx context.Context, req *http.Request, a *attempts, reason pool.Reason) (*http.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // Caddy logs it as a 499
	}
	err := fmt.Errorf("no upstreams available: pool %s: %s", p.pool.Name, reason)
	if res := p.refuseGRPC(req, a, err.Error()); res != nil {
		return res, nil
	}
	// Nothing was sent, so the error is a dial error, which Caddy retries.
	return nil, caddyhttp.Error(http.StatusServiceUnavailable, reverseproxy.NewDialError(err))
}

// foreignPolicy wraps a policy that is not Ballast's, in a proxy with a pool. It does not call
// the policy when the pool has no backend.
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
