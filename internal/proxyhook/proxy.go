// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package proxyhook is the one place that knows how Ballast hooks into Caddy's
// reverse_proxy. It finds the proxy that a guest module lives in, puts itself
// around its transport, and tells pool and policy of the proxy about each
// other. What it relies on is listed in docs/decisions/002-seam.md.
package proxyhook

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// PoolUser is implemented by selection policies that pick from a pool's views
// instead of the list that Caddy gives them.
type PoolUser interface {
	// UsePool is called once, while the proxy is provisioned.
	UsePool(*backend.Pool) error
}

// Finder finds backends by dial address; it must be safe for concurrent use.
type Finder interface {
	// Find returns nil if the address is no backend's.
	Find(address string) *backend.Backend
}

// Proxy is one reverse_proxy handler that Ballast is attached to, and its
// transport. It is set up while the handler is provisioned, then read-only.
type Proxy struct {
	next              http.RoundTripper
	handler           *reverseproxy.Handler
	pool              *backend.Pool
	finder            Finder
	foreignPolicyName any // the name of the pool's policy, if it is not Ballast's
	rewrite           func(*http.Request) *http.Request
	responseRoutes    responseRoutes

	affinity backend.Affinity // of what that policy chooses
}

// To attaches to the reverse_proxy that the module of ctx is a guest of, or
// returns what is attached to it already. It returns nil if there is none.
func To(ctx caddy.Context) (*Proxy, error) {
	handler := handlerOf(ctx)
	if handler == nil {
		return nil, nil
	}
	if p, ok := handler.Transport.(*Proxy); ok {
		return p, nil
	}
	p := &Proxy{next: handler.Transport, handler: handler, responseRoutes: responseRoutesOf(handler)}
	if p.next == nil {
		// Caddy makes its default later, and only if there is none yet.
		// Loaded as a module, it is also cleaned up.
		mod, err := ctx.LoadModuleByID("http.reverse_proxy.transport.http", nil)
		if err != nil {
			return nil, fmt.Errorf("loading default transport: %w", err)
		}
		p.next = mod.(http.RoundTripper)
	}
	handler.Transport = p
	return p, nil
}

// handlerOf returns the nearest reverse_proxy in the lineage of the module
// that ctx belongs to, or nil.
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
func (p *Proxy) Pool() *backend.Pool { return p.pool }

// FixedUpstreams returns the number of upstreams of a proxy whose upstreams are
// a fixed list, else 0.
func (p *Proxy) FixedUpstreams() int {
	if p.handler.DynamicUpstreamsRaw != nil {
		return 0
	}
	return len(p.handler.Upstreams)
}

// Rewrite has f say what backends are sent instead of a request. It must return another
// one if it changes anything, with the same context and URL, and is called for each
// attempt.
func (p *Proxy) Rewrite(f func(*http.Request) *http.Request) { p.rewrite = f }

// UseList makes finder know the backends of a proxy that has no pool.
func (p *Proxy) UseList(finder Finder) {
	if p.pool == nil {
		p.finder = finder
	}
}

// UsePool gives the proxy its pool, and its policy too. It reports whether
// the policy picks from the pool's views; if not, the pool must offer
// upstreams for it to choose from. A proxy without a policy gets defaultPolicy,
// a module ID.
func (p *Proxy) UsePool(ctx caddy.Context, pool *backend.Pool, defaultPolicy string) (bound bool, err error) {
	if err := p.refuse(); err != nil {
		return false, err
	}
	p.pool, p.finder = pool, pool
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
		p.affinity = AffinityOf(p.foreignPolicyName)
		lb.SelectionPolicy = foreignPolicy{lb.SelectionPolicy}
		return false, nil
	}
	return true, user.UsePool(pool)
}

// nameOf returns the last part of a module's ID.
func nameOf(module any) string {
	if m, ok := module.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", module)
}

// refuse rejects what has no effect on a pool's backends (CADDY.md 18):
// silence would be taken for protection.
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

// UseScheme makes the proxy speak to its backends as their addresses say:
// "https" turns TLS on, "h2c" cleartext HTTP/2. "http" and "" must not meet a
// transport with TLS, unless the address left it open.
func (p *Proxy) UseScheme(scheme string) error {
	switch scheme {
	case "https":
		if p.TLSEnabled() {
			return nil
		}
		// The transport is built already; without further TLS options that
		// makes no difference.
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
