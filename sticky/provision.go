// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

const (
	defaultTTL          = 30 * time.Minute
	defaultStoreTimeout = 5 * time.Millisecond

	minRebalance = 1.1 // three standard errors of the session count above 1
	maxRebalance = 100.0
)

// check sets defaults and returns an error if a setting is invalid.
func (p *Sticky) check() error {
	kinds := 0
	for _, given := range []bool{p.Cookie != nil, p.Header != "", p.ClientIP, p.Query != "", p.Learn != nil} {
		if given {
			kinds++
		}
	}
	switch kinds {
	case 0:
		p.Cookie = new(Cookie)
	case 1:
	default:
		return fmt.Errorf("sticky needs one of cookie, header, client_ip, query and learn; write one of them")
	}
	if p.Learn != nil {
		if err := p.Learn.check(); err != nil {
			return err
		}
	}
	if p.Header != "" {
		if err := httpx.CheckField("header", p.Header); err != nil {
			return err
		}
	}
	if p.Rebalance != 0 {
		if err := rebalances.Check("rebalance", p.Rebalance); err != nil {
			return err
		}
	}
	if p.TTL == 0 {
		p.TTL = caddy.Duration(defaultTTL)
	}
	if err := errors.Join(lifetimes.Check("ttl", p.TTL), lifetimes.Check("max_lifetime", p.MaxLifetime)); err != nil {
		return err
	}
	if p.MaxLifetime != 0 && p.MaxLifetime < p.TTL {
		return fmt.Errorf("max_lifetime must be at least the ttl, %v, got %v", time.Duration(p.TTL), time.Duration(p.MaxLifetime))
	}
	if err := storeTimeouts.Check("store_timeout", p.StoreTimeout); err != nil {
		return err
	}
	if p.OnFull == "" {
		p.OnFull = onSpill
	}
	if p.OnDown == "" {
		p.OnDown = onRebind
	}
	if err := cmp.Or(onFullWords.Check("on_full", p.OnFull), onDownWords.Check("on_down", p.OnDown)); err != nil {
		return err
	}
	if p.Cookie == nil && p.StoreRaw == nil && p.StoreTimeout != 0 {
		return errLocalStore
	}
	if p.Cookie == nil {
		return nil
	}
	if p.StoreRaw != nil {
		return fmt.Errorf("a cookie needs no store; remove it, or write header, client_ip, query or learn instead of cookie")
	}
	if p.StoreTimeout != 0 {
		return fmt.Errorf("a cookie needs no store, and so no store_timeout; remove it, or write header, client_ip, query or learn instead of cookie")
	}
	return p.Cookie.check()
}

// checkQuery returns an error if query has no name, which would mean a cookie.
func checkQuery(name string) error {
	if name == "" {
		return errors.New("query must be the name of a parameter such as user, got \"\"")
	}
	return nil
}

// rebalances bounds rebalance.
var rebalances = caddyfileutil.Floats{Min: minRebalance, Max: maxRebalance, Such: 1.2}

// The words of on_full and on_down.
var (
	onFullWords = caddyfileutil.Words{onSpill, onWait, onRebind}
	onDownWords = caddyfileutil.Words{onRebind, onFail}
)

// lifetimes are the bounds of the lifetimes of sessions and cookies.
var lifetimes = caddyfileutil.Durations{Min: time.Second, Max: 10 * caddyfileutil.Year}

// errLocalStore reports a store_timeout for a store that never blocks.
var errLocalStore = errors.New("store_timeout has no effect: the store is in memory and never waits; remove it")

// storeTimeouts are the bounds of store_timeout.
var storeTimeouts = caddyfileutil.Durations{Min: time.Millisecond, Max: time.Second}

// listProvider provides the upstreams of a list as backends. All policies of Ballast implement
// it.
type listProvider interface {
	Backends(upstreams reverseproxy.UpstreamPool) (backends []*backend.Backend, weights []float64)
}

// loadFallback loads the fallback policy and the listProvider of a proxy without a pool. A
// fallback policy of Ballast is also the listProvider, since it must know which backends were
// tried. Otherwise a wrr policy serves only as the listProvider.
func (p *Sticky) loadFallback(ctx caddy.Context) error {
	const wrr = policies + "wrr"
	var mod any
	var err error
	if p.FallbackRaw == nil {
		mod, err = ctx.LoadModuleByID(wrr, nil)
	} else {
		mod, err = ctx.LoadModule(p, "FallbackRaw")
	}
	if err != nil {
		return fmt.Errorf("loading fallback policy: %w", err)
	}
	if _, nested := mod.(*Sticky); nested {
		return fmt.Errorf("sticky cannot be its own fallback; write a policy that keeps no sessions")
	}
	p.fallback = mod.(reverseproxy.Selector)
	if _, ours := mod.(proxyhook.PoolUser); !ours {
		p.fallbackName = mod.(caddy.Module).CaddyModule().ID.Name()
		if mod, err = ctx.LoadModuleByID(wrr, nil); err != nil {
			return fmt.Errorf("loading the list of upstreams: %w", err)
		}
	}
	p.list = mod.(listProvider)
	return nil
}

// lifetimes returns the configured lifetimes.
func (p *Sticky) lifetimes() Lifetimes {
	return Lifetimes{Idle: time.Duration(p.TTL), Absolute: time.Duration(p.MaxLifetime)}
}

// loadSessions creates the session backend.
func (p *Sticky) loadSessions(ctx caddy.Context, proxy *proxyhook.Proxy) (err error) {
	if p.Cookie != nil {
		k, err := p.Cookie.sessions(ctx, p.lifetimes())
		if err != nil {
			return err
		}
		if p.sessions = k; p.Cookie.Indirect && proxy != nil {
			proxy.Rewrite(k.strip)
		}
		return nil
	}
	k := &storeSessions{lifetimes: p.lifetimes(), timeout: time.Duration(p.StoreTimeout)}
	if k.timeout == 0 {
		k.timeout = defaultStoreTimeout
	}
	switch {
	case p.Header != "":
		k.kind = "header " + strings.ToLower(p.Header)
		if k.key, err = httpx.NewRequestKey("header", p.Header); err == nil {
			k.other = new(httpx.RequestKey)
			*k.other, err = httpx.NewRequestKey("client_ip", "")
		}
	case p.Query != "":
		k.kind = "query " + p.Query
		k.key, err = httpx.NewRequestKey("query", p.Query)
	case p.Learn != nil:
		p.learner, k.learns = &learner{storeSessions: k, Learn: *p.Learn}, true
		k.kind, k.key, err = p.Learn.key()
	default:
		k.kind = "client_ip"
		k.key, err = httpx.NewRequestKey("client_ip", "")
	}
	if err != nil {
		return err
	}
	store := Store(nil)
	if p.StoreRaw == nil {
		m := new(Memory)
		store, err = m, m.Provision(ctx)
	} else {
		var named struct {
			Module string `json:"module"`
		}
		if json.Unmarshal(p.StoreRaw, &named) == nil && named.Module == "redis" {
			if err := findRedis(); err != nil {
				return err
			}
		}
		var mod any
		if mod, err = ctx.LoadModule(p, "StoreRaw"); err == nil {
			var ok bool
			if store, ok = mod.(Store); !ok {
				err = fmt.Errorf("%T is not a session store; it must implement sticky.Store", mod)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	k.store, k.logger = store, p.logger
	p.sessions = k
	return nil
}

// sessionStores is the namespace of stores.
const sessionStores = "ballast.sessions"

// findRedis returns an error if the store on Redis, which is a separate Go module, is not built into Caddy.
func findRedis() error {
	if _, err := caddy.GetModule(sessionStores + ".redis"); err != nil {
		return errors.New("store redis is not in this Caddy; build one with `--with github.com/ballast-lb/caddy-ballast/redisstore` beside Ballast")
	}
	return nil
}
