// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

func init() { caddy.RegisterModule(new(Sticky)) }

// Sticky sends the requests of a client to the backend of its first request. By default the
// backend is stored in a cookie, which only instances with the same secret can read, and Caddy
// keeps no table. A session follows the id of its backend, so that it survives changes of the
// address, the weights and the order of the backends, and a restart.
//
// A session stays while its backend is drained or has weight 0. It moves permanently when its
// backend is down, ejected, in maintenance or removed. While its backend is full, its requests
// are served elsewhere.
//
// It sets the placeholder {http.ballast.session}: new, kept, moved or spilled.
type Sticky struct {
	// Cookie stores the backend in a cookie. This is the default, unless one of Header,
	// ClientIP, Query or Learn is set; only one of the five may be.
	Cookie *Cookie `json:"cookie,omitempty"`
	// Header is the header field with the client's own id. Clients without it are identified by
	// their IP address.
	Header string `json:"header,omitempty"`
	// ClientIP identifies clients by their IP address.
	ClientIP bool `json:"client_ip,omitempty"`
	// Query is the query parameter with the client's id. Requests without it have no session.
	Query string `json:"query,omitempty"`
	// Learn uses the session id of the application.
	Learn *Learn `json:"learn,omitempty"`

	// TTL is the time without requests after which a session ends, from 1s to 10 years. The
	// session may end later, by a tenth of the TTL or by 1s, whichever is longer. Default: 30m.
	TTL caddy.Duration `json:"ttl,omitempty"`
	// MaxLifetime is the time after which a session ends even if it is used, at least TTL. The
	// session may end up to 1s later. Default: no limit.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`
	// OnFull is what happens to a request whose backend is full: spill (serve it elsewhere this
	// once), wait (in the pool's queue, for that backend) or rebind (move the session).
	// Default: spill.
	OnFull string `json:"on_full,omitempty"`
	// OnDown is what happens to a session whose backend is down or ejected: rebind (move it) or
	// fail (respond with 503 until the backend is back). Default: rebind.
	OnDown string `json:"on_down,omitempty"`
	// Rebalance moves sessions away from a backend that has more than this multiple of its fair
	// share of the sessions in use, from 1.1 to 100, until it has its fair share. Sessions that
	// were idle for longest move first, and a third of the excess moves every 10 seconds.
	// Default: off; sessions that moved when a backend failed stay where they are.
	Rebalance float64 `json:"rebalance,omitempty"`
	// StoreRaw is the session store for sessions that are not in a cookie. Default: memory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ballast.sessions inline_key=module"`
	// StoreTimeout is how long a request waits for each call of the store, from 1ms to 1s.
	// After that the request continues without its session. A store in this process, such as
	// memory, never blocks and has no timeout. Default: 5ms.
	StoreTimeout caddy.Duration `json:"store_timeout,omitempty"`
	// FallbackRaw is the policy that chooses the backend for a new session, a session that
	// moves, and requests without a session. Any policy but sticky is allowed. Default: wrr.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`
	// Position is the file and line of the policy in the Caddyfile, for errors. The Caddyfile
	// adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`
	// FallbackPosition is the file and line of `fallback` in the Caddyfile, for errors. The
	// Caddyfile adapter sets it.
	FallbackPosition caddyfileutil.Position `json:"fallback_position,omitempty"`

	// Set by Provision, then read-only.
	sessions        sessionBackend
	fallback        reverseproxy.Selector
	fallbackName    any            // name of the fallback, boxed once, if it is not a policy of Ballast
	explainFallback pool.Explainer // of the fallback; nil for a policy of Caddy
	list            listProvider
	learner         *learner         // nil without Learn
	proxy           *proxyhook.Proxy // nil without a proxy
	pool            *pool.Pool
	stats           *sessionStats
	usage           *usage
	scope           scope
	config          *prometheus.Registry // identifies the configuration
	unlist          func()               // nil before the policy is listed
	refs            shared.Refs
	logger          *zap.Logger

	index atomic.Pointer[memberIndex]
	clash cookieClash

	mu     sync.Mutex // guards closed
	closed bool
	works  sync.WaitGroup // background work
}

// Values of on_full and on_down.
const (
	onSpill  = "spill"
	onWait   = "wait"
	onRebind = "rebind"
	onFail   = "fail"
)

// policyName is the name of the policy, boxed once for placeholders.
var policyName any = "sticky"

const policies = "http.reverse_proxy.selection_policies."

// CaddyModule returns the Caddy module information.
func (*Sticky) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: policies + "sticky", New: func() caddy.Module { return new(Sticky) }}
}

// Provision sets up the policy.
func (p *Sticky) Provision(ctx caddy.Context) error { return p.Position.Wrap(p.provision(ctx)) }

func (p *Sticky) provision(ctx caddy.Context) error {
	p.logger, p.config = ctx.Logger(), ctx.GetMetricsRegistry()
	if err := p.check(); err != nil {
		return err
	}
	if err := p.loadFallback(ctx); err != nil {
		return p.FallbackPosition.Wrap(err)
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
	if err := p.open(scope{name: "list " + upstreams}, nil); err != nil {
		return err
	}
	if p.local() && p.StoreTimeout != 0 {
		return errLocalStore
	}
	return nil
}

// open opens and counts the sessions of a scope and its pool, nil for a list, in place of those
// of the previous scope. Metrics and other policies use a policy while it is listed.
func (p *Sticky) open(s scope, pool *pool.Pool) (err error) {
	if p.unlist != nil {
		p.unlist()
	}
	if err := p.sessions.open(s, p.recordUse); err != nil {
		return err
	}
	p.scope, p.pool = s, pool
	p.refs.Release()
	p.stats = shared.LoadOrNew(&p.refs, sessionStatsKey{s, p.sessions.name(), p.Rebalance}, newSessionStats)
	p.usage = shared.LoadOrNew(&p.refs, usageKey{s, p.sessions.name()}, newUsage)
	p.unlist, err = listed.Add(p.config, p)
	return err
}

// UsePool implements [proxyhook.PoolUser].
func (p *Sticky) UsePool(pool *pool.Pool) error {
	if p.OnFull == onWait && pool.Options().Queue.Size == 0 {
		return p.Position.Wrap(errors.New("on_full wait needs a queue; write `queue <size>` in the pool, or on_full spill"))
	}
	if user, ok := p.fallback.(proxyhook.PoolUser); ok {
		if err := user.UsePool(pool); err != nil {
			return p.FallbackPosition.Wrap(err)
		}
		p.explainFallback = pool.TakeExplainer()
	}
	s := scope{named: true, name: pool.Name}
	if pool.Unnamed {
		s = scope{name: "pool " + pool.Name}
	}
	if err := p.open(s, pool); err != nil {
		return err
	}
	pool.Subscribe(p.useView)
	pool.AddSessionCounter(p)
	pool.Explain("sticky", p.explain)
	return nil
}

// CheckConnections implements [connections.ConnectionPolicy]: of a connection only the client's address
// is known.
func (p *Sticky) CheckConnections() error {
	if !p.ClientIP {
		return p.Position.Wrap(errors.New("sticky needs client_ip here, since a connection has neither cookies nor header fields; write client_ip in the block of sticky"))
	}
	fallback, ok := p.fallback.(connections.ConnectionPolicy)
	if !ok {
		names := slices.DeleteFunc(connections.Policies(strings.TrimSuffix(policies, "."), true), func(name string) bool { return name == "sticky" })
		return p.FallbackPosition.Wrap(fmt.Errorf("the fallback %v chooses for HTTP requests only; write one of: %s", p.fallbackName, strings.Join(names, ", ")))
	}
	return p.FallbackPosition.Wrap(fallback.CheckConnections())
}

// Cleanup closes the sessions and releases all references.
func (p *Sticky) Cleanup() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.works.Wait()
	if p.unlist != nil {
		p.unlist()
	}
	p.refs.Release()
	if p.sessions != nil {
		return p.sessions.close()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner            = (*Sticky)(nil)
	_ caddy.CleanerUpper           = (*Sticky)(nil)
	_ caddyfile.Unmarshaler        = (*Sticky)(nil)
	_ connections.ConnectionPolicy = (*Sticky)(nil)
)
