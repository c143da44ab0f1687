// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

func init() { caddy.RegisterModule(new(Sticky)) }

// Sticky keeps the requests of a client with the backend that its first one went
// to. By default a cookie says which that is, which only instances with the same
// secret can read; nothing is kept here then. A session follows the id of its
// backend, so that it outlives a change of address, of weights, of the order of
// the backends, and a restart.
//
// A session stays while its backend is drained, or has weight 0. It moves, for
// good, when its backend is down or ejected, in maintenance, or gone. While its
// backend is full, it is served elsewhere and returns.
//
// It sets the placeholder {http.ballast.session}: new, kept, moved or spilled.
type Sticky struct {
	// Cookie has a cookie tell the backend. Default, unless Header, ClientIP,
	// Query or Learn is given, of which there may be one.
	Cookie *Cookie `json:"cookie,omitempty"`
	// Header is the field in which clients send an id of their own. Those that
	// send none are told apart by their IP address.
	Header string `json:"header,omitempty"`
	// ClientIP tells clients apart by their IP address.
	ClientIP bool `json:"client_ip,omitempty"`
	// Query is the query parameter that clients send an id in. Requests without
	// it have no session.
	Query string `json:"query,omitempty"`
	// Learn goes by the application's own session id.
	Learn *Learn `json:"learn,omitempty"`

	// TTL is after how long without a request a session ends, from 1s to 10
	// years; up to a tenth later, or a second if that is more. Default: 30m.
	TTL caddy.Duration `json:"ttl,omitempty"`
	// MaxLifetime is after how long a session ends whether it is used or not, at
	// least TTL, and up to a second later. Default: never.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`
	// OnFull is what becomes of a request whose backend is full: spill (serve it
	// elsewhere this once), wait (in the pool's queue, for that backend) or
	// rebind (move the session). Default: spill.
	OnFull string `json:"on_full,omitempty"`
	// OnDown is what becomes of a session whose backend is down or ejected:
	// rebind (move it) or fail (answer 503 until the backend is back). Default:
	// rebind.
	OnDown string `json:"on_down,omitempty"`
	// Rebalance has sessions move from a backend that has more than so many times
	// its fair share of those in use, from 1.1 to 100, until it has that share:
	// those first that were idle for longest, and a third of what is too much in
	// 10 seconds. Default: off; sessions that moved when a backend failed stay
	// where they are.
	Rebalance float64 `json:"rebalance,omitempty"`
	// StoreRaw is where sessions are kept that no cookie tells of. Default:
	// memory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ballast.sessions inline_key=module"`
	// StoreTimeout is how long a request waits for the store, each time it asks it,
	// from 1ms to 1s; then the request goes on without its session. A store in this
	// process, such as memory, never waits, and has none. Default: 5ms.
	StoreTimeout caddy.Duration `json:"store_timeout,omitempty"`
	// FallbackRaw is the policy that chooses the backend of a new session, of one
	// that moves, and for requests without a session. Any will do that does not
	// keep sessions itself. Default: wrr.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`

	// Set by Provision, then read-only.
	sessions        sessionBackend
	fallback        reverseproxy.Selector
	fallbackName    any               // the fallback's name, boxed once, if it is not one of Ballast's
	explainFallback backend.Explainer // of the fallback; nil for one of Caddy's
	list            listProvider
	learner         *learner         // nil unless it learns
	proxy           *proxyhook.Proxy // nil where there is none
	pool            *backend.Pool
	stats           *sessionStats
	usage           *usage
	scope           scope
	config          any // tells configurations apart
	refs            shared.Refs
	logger          *zap.Logger

	index atomic.Pointer[memberIndex]
	clash cookieClash

	mu     sync.Mutex // guards closed
	closed bool
	works  sync.WaitGroup // beside the requests
}

// The words of the configuration.
const (
	onSpill  = "spill"
	onWait   = "wait"
	onRebind = "rebind"
	onFail   = "fail"
)

// policyName is the policy's name, boxed once for placeholders.
var policyName any = "sticky"

const policies = "http.reverse_proxy.selection_policies."

// CaddyModule returns the Caddy module information.
func (*Sticky) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: policies + "sticky", New: func() caddy.Module { return new(Sticky) }}
}

// Provision sets up the policy.
func (p *Sticky) Provision(ctx caddy.Context) error {
	p.logger, p.config = ctx.Logger(), ctx.GetMetricsRegistry()
	if err := p.check(); err != nil {
		return err
	}
	if err := p.loadFallback(ctx); err != nil {
		return err
	}
	proxy, err := proxyhook.To(ctx)
	if err != nil {
		return err
	}
	p.proxy = proxy
	if proxy != nil && proxy.FixedUpstreams() > 0 && p.OnFull == onWait {
		return fmt.Errorf("on_full wait needs the queue of a pool; write `dynamic pool { ... }`, or on_full spill")
	}
	upstreams := ""
	if proxy != nil {
		upstreams = proxy.Identity()
	}
	if err := p.loadSessions(ctx, proxy); err != nil {
		return err
	}
	if err := register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if err := p.open(scope{name: "list " + upstreams}); err != nil {
		return err
	}
	if p.local() && p.StoreTimeout != 0 {
		return errLocalStore
	}
	return nil
}

// open has the sessions of a scope be kept and counted, those of the scope before no
// longer.
func (p *Sticky) open(s scope) error {
	unlist(p) // metrics ask no sessions that are closed
	if err := p.sessions.open(s, p.recordUse); err != nil {
		return err
	}
	p.scope = s
	p.refs.Release()
	p.stats = shared.LoadOrNew(&p.refs, sessionStatsKey{s, p.sessions.name(), p.Rebalance}, newSessionStats)
	p.usage = shared.LoadOrNew(&p.refs, usageKey{s, p.sessions.name()}, newUsage)
	c := countedPolicy{stats: p.stats, usage: p.usage}
	if p.pool != nil {
		c.pool = p.pool.Name
	}
	c.counter, c.local = p.counter(), p.local()
	list(p, c)
	return nil
}

// UsePool implements [proxyhook.PoolUser].
func (p *Sticky) UsePool(pool *backend.Pool) error {
	p.pool = pool
	if p.OnFull == onWait && pool.Rules().Queue.Size == 0 {
		return fmt.Errorf("on_full wait needs a queue; write `queue <size>` in the pool")
	}
	if user, ok := p.fallback.(proxyhook.PoolUser); ok {
		if err := user.UsePool(pool); err != nil {
			return err
		}
		p.explainFallback = pool.TakeExplainer()
	}
	s := scope{named: true, name: pool.Name}
	if pool.Unnamed {
		s = scope{name: "pool " + pool.Name}
	}
	if err := p.open(s); err != nil {
		return err
	}
	pool.Subscribe(p.useView)
	pool.AddSessionCounter(p)
	pool.Explain(p.explain)
	return nil
}

// Cleanup gives back what the policy has taken.
func (p *Sticky) Cleanup() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.works.Wait()
	unlist(p)
	p.refs.Release()
	if p.sessions != nil {
		return p.sessions.close()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Sticky)(nil)
	_ caddy.CleanerUpper    = (*Sticky)(nil)
	_ caddyfile.Unmarshaler = (*Sticky)(nil)
	_ reverseproxy.Selector = (*Sticky)(nil)
	_ proxyhook.PoolUser    = (*Sticky)(nil)
)
