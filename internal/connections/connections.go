// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package connections lets the selection policies of reverse_proxy choose backends for connections that carry no HTTP.
// See docs/decisions/015-tcp.md.
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

// ConnectionPolicy is a selection policy that can also choose backends for connections. It gets the result of
// [Request].
type ConnectionPolicy interface {
	reverseproxy.Selector
	proxyhook.PoolUser
	// CheckConnections returns an error if the policy, as configured, needs a property of HTTP requests.
	// The error says what to write instead.
	CheckConnections() error
}

// Request returns the request that stands for a connection in policies. Its remote address is the IP address of the
// client, or another text on networks without IP addresses, and its placeholders are those of repl. It has no header, and
// its URL is empty.
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

// NewChooser returns a Chooser. policy is the module of a selection policy. The error says that the policy cannot choose
// for connections.
func NewChooser(policy caddy.Module, p *pool.Pool) (*Chooser, error) {
	c, ok := policy.(ConnectionPolicy)
	if !ok {
		id := policy.CaddyModule().ID
		return nil, fmt.Errorf("%s chooses for HTTP requests only; write one of: %s", id.Name(), strings.Join(Policies(id.Namespace(), true), ", "))
	}
	if err := c.CheckConnections(); err != nil {
		return nil, err
	}
	return &Chooser{c, p}, c.UsePool(p)
}

// Policies returns the names of the policies in a namespace that can choose for connections or, if can
// is false, of the other ones.
func Policies(namespace string, can bool) (names []string) {
	for _, info := range caddy.GetModules(namespace) {
		if _, ok := info.New().(ConnectionPolicy); ok == can {
			names = append(names, info.ID.Name())
		}
	}
	return names
}

// Chosen is an attempt to connect. The permit holds a slot, so the attempt must be made.
type Chosen struct {
	backend.Permit
	// Affinity is the affinity of the attempt.
	Affinity backend.Affinity
	// Try is the number of the attempt, from 1.
	Try int
}

// Choose returns the next attempt of a connection, or the reason why there is none. All attempts of a connection must
// use the same [Request]. Choose may wait for a slot, at most until the context of the request ends.
func (c *Chooser) Choose(r *http.Request) (Chosen, pool.Reason) {
	permit, affinity, try, reason := proxyhook.Take(r, c.pool, c.policy.Select(nil, r, nil) != nil)
	return Chosen{permit, affinity, try}, reason
}

// Provider finds the pools of a configuration. The ballast app implements it.
type Provider interface {
	// FindPool returns a pool of the ballast global option by name. The caller must call await before it
	// chooses a backend: it waits until the pool has the changes of the fleet, for at most the fleet's
	// `wait`.
	FindPool(name string) (p *pool.Pool, await func(context.Context), err error)
}
