// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package connections makes selection policies choose backends for connections that carry no HTTP.
// The policies are those of reverse_proxy: docs/decisions/015-tcp.md.
package connections

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// ConnectionPolicy is a selection policy that may also choose backends of connections. It sees a [Request].
type ConnectionPolicy interface {
	reverseproxy.Selector
	proxyhook.PoolUser
	// CheckConnections returns an error that says what to write instead, if the policy goes by
	// what only an HTTP request has.
	CheckConnections() error
}

// Request returns what policies see of a connection: the IP address of the client or, on networks
// without any, another text; and the placeholders of repl. It has no header, and its URL is empty.
func Request(ctx context.Context, client string, repl *caddy.Replacer) *http.Request {
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, repl)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: client})
	r := http.Request{URL: new(url.URL), Header: make(http.Header), RemoteAddr: client}
	return r.WithContext(ctx)
}

// Chooser chooses backends of a pool for connections. Safe for concurrent use.
type Chooser struct {
	policy ConnectionPolicy
	pool   *pool.Pool
}

// NewChooser returns a Chooser. policy is the module of a selection policy; it is an error if that
// cannot choose for connections.
func NewChooser(policy caddy.Module, p *pool.Pool) (*Chooser, error) {
	c, ok := policy.(ConnectionPolicy)
	if !ok {
		id := policy.CaddyModule().ID
		return nil, fmt.Errorf("%s chooses for HTTP requests only; write one of: %s", id.Name(), strings.Join(others(id.Namespace()), ", "))
	}
	if err := c.CheckConnections(); err != nil {
		return nil, err
	}
	return &Chooser{c, p}, c.UsePool(p)
}

// others returns the names of the policies of a namespace that may choose for connections.
func others(namespace string) (names []string) {
	for _, info := range caddy.GetModules(namespace) {
		if _, ok := info.New().(ConnectionPolicy); ok {
			names = append(names, info.ID.Name())
		}
	}
	return names
}

// Chosen is an attempt of a connection. The permit has a slot, so the attempt must begin.
type Chosen struct {
	backend.Permit
	// Affinity is that of the attempt.
	Affinity backend.Affinity
	// Try is the number of the attempt, from 1.
	Try int
}

// Choose returns the next attempt of a connection, or the reason why there is none. All attempts of
// a connection have the same [Request]. A request that waits for a slot does so until its context ends.
func (c *Chooser) Choose(r *http.Request) (Chosen, pool.Reason) {
	permit, affinity, try, reason := proxyhook.Take(r, c.pool, c.policy.Select(nil, r, nil) != nil)
	return Chosen{permit, affinity, try}, reason
}

// Provider has the pools of a configuration. The app of the pools implements it.
type Provider interface {
	// FindPool returns the pool of a name in the ballast global option. await is called before a
	// backend is chosen: it waits, with the fleet's `wait`, until the pool has what the fleet knows of it.
	FindPool(name string) (p *pool.Pool, await func(context.Context), err error)
}
