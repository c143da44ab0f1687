// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package proxyhook is the only package that depends on how Caddy's reverse_proxy works inside.
// It finds the reverse_proxy of a guest module, wraps its transport, and connects the pool and
// the policy of the proxy. docs/decisions/002-seam.md lists the assumptions about Caddy.
package proxyhook

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/caddypolicies"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/copies"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/further"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/responseroutes"
)

// PoolUser is implemented by selection policies that choose from a pool's views instead of
// Caddy's list of upstreams.
type PoolUser interface {
	// UsePool is called once, while the proxy is provisioned.
	UsePool(*pool.Pool) error
}

// Finder finds backends by dial address. It must be safe for concurrent use.
type Finder interface {
	// Find returns nil if no backend has the address.
	Find(address string) *backend.Backend
}

// Proxy wraps the transport of one reverse_proxy handler. It is set up while the handler is
// provisioned, and then read-only.
type Proxy struct {
	next              http.RoundTripper
	handler           *reverseproxy.Handler
	pool              *pool.Pool
	finder            Finder
	foreignPolicyName any // name of the pool's policy, if it is not Ballast's
	rewrite           func(*http.Request) *http.Request
	responseRoutes    responseroutes.Routes
	transportOps      *headers.HeaderOps // of the transport; nil for none
	watched           bool               // the connections of next are watched
	writesVars        bool               // next may write to the request's variables
	further           bool               // the pool may make further attempts
	copies            *copies.Maker      // of the requests; nil if they are not mirrored
	logger            *zap.Logger

	metric orca.Metric // of the load reports; set with pool

	affinity backend.Affinity // of the requests for which that policy chooses
}

// To hooks into the reverse_proxy of which the module of ctx is a guest, or returns the existing Proxy. It returns
// nil if the module is not a guest of a reverse_proxy.
func To(ctx caddy.Context) (*Proxy, error) {
	handler := handlerOf(ctx)
	if handler == nil {
		return nil, nil
	}
	if p, ok := handler.Transport.(*Proxy); ok {
		return p, nil
	}
	p := &Proxy{next: handler.Transport, handler: handler, responseRoutes: responseroutes.Of(handler), logger: ctx.Logger()}
	if p.next == nil {
		// Caddy makes its default transport later, and only if there is none yet. Loaded as a
		// module, it is also cleaned up.
		mod, err := ctx.LoadModuleByID("http.reverse_proxy.transport.http", nil)
		if err != nil {
			return nil, fmt.Errorf("loading default transport: %w", err)
		}
		p.next = mod.(http.RoundTripper)
	}
	p.watchConnections(httptransport.Of(p.next))
	handler.Transport = p
	return p, nil
}

// handlerOf returns the nearest reverse_proxy among the parents of the module of ctx, or nil.
func handlerOf(ctx caddy.Context) *reverseproxy.Handler {
	lineage := ctx.Modules()
	for i := len(lineage) - 1; i >= 0; i-- {
		if h, ok := lineage[i].(*reverseproxy.Handler); ok {
			return h
		}
	}
	return nil
}

// Pool returns the pool of the proxy, or nil.
func (p *Proxy) Pool() *pool.Pool { return p.pool }

// FixedUpstreams returns the number of upstreams of a proxy with a fixed list of upstreams, else
// 0.
func (p *Proxy) FixedUpstreams() int {
	if p.handler.DynamicUpstreamsRaw != nil {
		return 0
	}
	return len(p.handler.Upstreams)
}

// Rewrite sets a function that replaces the request that is sent to backends. f is called for
// each attempt. It must not modify its argument: to change anything it returns another request
// with the same context and URL.
func (p *Proxy) Rewrite(f func(*http.Request) *http.Request) { p.rewrite = f }

// UseList sets the finder of the backends of a proxy without a pool.
func (p *Proxy) UseList(finder Finder) {
	if p.pool == nil {
		p.finder = finder
	}
}

// UsePool connects the proxy and its policy to the pool. bound reports whether the policy chooses
// from the pool's views. If not, the pool must provide upstreams for it to choose from. A proxy
// without a policy gets defaultPolicy, a module ID.
func (p *Proxy) UsePool(ctx caddy.Context, pool *pool.Pool, defaultPolicy string) (bound bool, err error) {
	if err := p.refuse(); err != nil {
		return false, err
	}
	metric, err := orca.ParseMetric(pool.Options().OrcaMetric)
	if err != nil {
		return false, fmt.Errorf("orca_metric %w", err)
	}
	p.pool, p.finder, p.metric = pool, pool, metric
	httptransport.LimitHandshakes(p.next)
	if p.handler.LoadBalancing == nil {
		p.handler.LoadBalancing = new(reverseproxy.LoadBalancing)
	}
	lb := p.handler.LoadBalancing
	if lb.SelectionPolicy == nil {
		mod, err := ctx.LoadModuleByID(defaultPolicy, nil)
		if err != nil {
			return false, fmt.Errorf("loading default selection policy: %w", err)
		}
		lb.SelectionPolicy = mod.(reverseproxy.Selector)
	}
	user, bound := lb.SelectionPolicy.(PoolUser)
	if !bound {
		p.foreignPolicyName = nameOf(lb.SelectionPolicy)
		p.affinity = caddypolicies.AffinityOf(p.foreignPolicyName)
		lb.SelectionPolicy = foreignPolicy{lb.SelectionPolicy}
	} else if err := user.UsePool(pool); err != nil {
		return true, err
	}
	if m := pool.Mirror(); m != nil {
		if p.copies, err = copies.New(m, p.next, nameOf(p.next)); err != nil {
			return bound, err
		}
	}
	return bound, p.useFurtherAttempts()
}

// useFurtherAttempts prepares the proxy for the policies of its pool for further attempts and copies.
func (p *Proxy) useFurtherAttempts() error {
	lb := p.handler.LoadBalancing
	p.further = p.pool.RetryPolicy() != nil || p.pool.HedgePolicy() != nil || p.pool.FallbackPolicy() != nil
	if !p.further && p.copies == nil {
		return nil
	}
	p.writesVars = httptransport.MayProxy(p.next)
	lb.SelectionPolicy = recordingPolicy{lb.SelectionPolicy}
	if p.pool.RetryPolicy() == nil {
		return nil
	}
	if len(lb.RetryMatchRaw) > 0 {
		return errors.New("lb_retry_match beside the pool's `retry` would retry twice; write `on <codes...>` and `methods <methods...>` in `retry` instead")
	}
	lb.RetryMatch = caddyhttp.MatcherSets{{further.NeverMatches{}}}
	return nil
}

// nameOf returns the last part of a module's ID.
func nameOf(module any) string {
	if m, ok := module.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", module)
}

// Transport returns what health checks need of the proxy's transport. It must be called after
// [Proxy.UseScheme].
func (p *Proxy) Transport() (*httptransport.Transport, error) {
	return httptransport.TransportOf(p.next, nameOf(p.next), p.TLSEnabled())
}

// refuse rejects options that have no effect on a pool's backends. If they were
// ignored, an operator would rely on them.
func (p *Proxy) refuse() error {
	switch h := p.handler; {
	case h.HealthChecks != nil && h.HealthChecks.Active != nil:
		return errors.New("active health checks of reverse_proxy (health_uri, health_port, ...) do not run on a pool's backends; write `health http <uri>` in the pool instead")
	case h.HealthChecks != nil && h.HealthChecks.Passive != nil:
		return errors.New("passive health checks of reverse_proxy (fail_duration, max_fails, unhealthy_request_count, ...) do not see a pool's backends; remove them and write `health` in the pool instead; its `outliers`, on by default, judge the traffic")
	case h.CB != nil:
		return errors.New("circuit_breaker does not see a pool's backends; remove it and write `health` in the pool instead; its `outliers`, on by default, judge the traffic")
	case len(h.Upstreams) > 0:
		return fmt.Errorf("upstream %s beside `dynamic pool` would never be used; write it as `to` in the pool instead", h.Upstreams[0].Dial)
	}
	return nil
}

// UseScheme applies the scheme of the backends' addresses: "https" enables TLS, "h2c" cleartext
// HTTP/2. "http" is an error for a transport with TLS; "" changes nothing.
func (p *Proxy) UseScheme(scheme string) error {
	switch scheme {
	case "https":
		if p.TLSEnabled() {
			return nil
		}
		// The transport is built already. Without further TLS options that makes no difference.
		return p.EnableTLS(new(reverseproxy.TLSConfig))
	case "h2c":
		t, ok := p.next.(*reverseproxy.HTTPTransport)
		if !ok {
			return fmt.Errorf("h2c:// backends need `transport http`, not %s", nameOf(p.next))
		}
		if err := t.EnableH2C(); err != nil {
			return err
		}
		t.Transport.Protocols = new(http.Protocols)
		t.Transport.Protocols.SetUnencryptedHTTP2(true)
	case "http":
		if p.TLSEnabled() {
			return errors.New("the backends are http:// but the transport has TLS; write https:// or remove `tls` from the transport")
		}
	}
	return nil
}
