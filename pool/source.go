// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/names"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

func init() { caddy.RegisterModule(new(Source)) }

// defaultPolicy is the selection policy of a proxy that has a pool but no lb_policy.
const defaultPolicy = "http.reverse_proxy.selection_policies.p2c"

// Source gives a reverse_proxy a pool: a pool of the app, by name, or a pool of its own. With
// Ballast's selection policies the cost of a request does not depend on the size of the pool.
// With Caddy's own policies each request makes a list of the eligible backends. A proxy without
// lb_policy uses p2c.
//
// It sets the placeholders {http.ballast.pool}, {http.ballast.backend} (the id of the backend),
// {http.ballast.policy}, {http.ballast.tries} (attempts made so far) and, when no backend can
// take the request, {http.ballast.reason}.
type Source struct {
	// Name is the name of a pool of the app or, together with a configuration, the name of this
	// pool. A name may be defined only once.
	Name string `json:"name,omitempty"`
	// Position is the file and line of `dynamic pool` in the Caddyfile, for errors. The
	// Caddyfile adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`

	Config

	// Set by Provision, then read-only.
	proxy *proxyhook.Proxy
	pool  *Pool
	bound bool // the policy picks from views
}

// CaddyModule returns the Caddy module information.
func (*Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.pool", New: func() caddy.Module { return new(Source) }}
}

// Provision finds or creates the pool and attaches it to the proxy.
func (s *Source) Provision(ctx caddy.Context) error { return s.Position.Wrap(s.provision(ctx)) }

func (s *Source) provision(ctx caddy.Context) error {
	if err := checkParent(ctx.Modules()); err != nil {
		return err
	}
	mod, err := ctx.App("ballast")
	if err != nil {
		return err
	}
	app := mod.(*App)
	if s.Config.empty() {
		s.pool, err = app.find(s.Name, ", or give `dynamic pool` a block")
	} else {
		s.pool, err = app.add(ctx, s.Name, &s.Config)
	}
	if err != nil {
		return err
	}
	if err := s.attach(ctx); err != nil {
		return fmt.Errorf("pool %s: %w", s.pool.Name, err)
	}
	return nil
}

// attach connects the proxy to the pool.
func (s *Source) attach(ctx caddy.Context) error {
	proxy, err := proxyhook.To(ctx)
	if err != nil {
		return err
	}
	s.proxy = proxy
	if s.bound, err = proxy.UsePool(ctx, s.pool.Pool, defaultPolicy); err != nil {
		return err
	}
	if err := proxy.UseScheme(s.pool.scheme); err != nil {
		return err
	}
	transport, err := proxy.Transport()
	if err != nil {
		return err
	}
	return s.pool.useTransport(transport, s.Position)
}

// checkParent rejects a place in the configuration where the pool would not reach its proxy.
func checkParent(lineage []caddy.Module) error {
	if len(lineage) > 1 {
		switch lineage[len(lineage)-2].(type) {
		case *reverseproxy.Handler:
			return nil
		case *Source, *App:
			return errors.New("a pool cannot be the source of a pool; write its backends and sources in this one")
		}
	}
	return errors.New("a pool must be reverse_proxy's own source; to combine sources, write them as `from` in the pool")
}

// GetUpstreams implements [reverseproxy.UpstreamSource]. It returns nothing for a policy that
// picks from the pool itself. Other policies get new upstreams for the eligible backends of the
// first tier that has any. Backends already tried are included only when no other is left.
func (s *Source) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	s.pool.Await(r.Context())
	s.proxy.CountTry(r)
	if s.bound {
		return nil, nil
	}
	upstreams, reason := s.eligibleUpstreams(r, proxyhook.Tried(r))
	if reason != "" {
		proxyhook.Refuse(r, s.proxy, s.pool.Pool, reason) // the policy is not called
		return nil, nil
	}
	return upstreams, nil
}

// UnmarshalCaddyfile sets up the source from Caddyfile tokens. Syntax:
//
//	dynamic pool <name>
//
//	dynamic pool [<name>] {
//		to <address...>
//		backend <address> {
//			id     <name>
//			weight <n>
//			max_requests <n> [fleet]
//			tier   <n>
//			backup
//			zone   <name>
//			instance <text>
//			meta   <key> <value>
//		}
//		from <source> [<args...>] {
//			# the source's own options
//		}
//		refresh <duration>
//		health <check> [<arg>] {
//			# the check's own options
//		}
//		outliers off|{
//			# see healthcheck.Outliers
//		}
//		slow_start <duration> [<min_ratio>]
//		panic <ratio>
//		spill <factor>|off
//		guard on|off
//		max_requests <n> [fleet]
//		queue <size> [<timeout>]
//		retry_budget <ratio> [<min>]
//		retry <tries> {
//			on          <conditions...>
//			methods     <methods...>
//			header      <field>
//			timeout     <duration>
//			backoff     <base> [<max>]
//			retry_after <max>
//			body        <size>
//		}
//		hedge <quantile> {
//			max   <ratio>
//			min   <duration>
//			match <matchers...> {
//				# matchers, one a line
//			}
//		}
//		mirror <ratio> <address...> {
//			body          <size>
//			methods       <methods...>
//			keep_credentials
//			max_in_flight <n>
//			timeout       <duration>
//		}
//		group <name> {
//			# to, backend and from as above
//			share <ratio> [by <key>]
//			when  <matchers...> {
//				# matchers, one a line
//			}
//			steps <ratio...> every <duration>
//			abort errors +<ratio> [<quantile> <factor>] [after <n>]
//			fallback
//		}
//		on_down keep|close
//		subset <n>
//		locality prefer [<margin>]
//		orca_metric <name>
//		orca_report [<duration>]
//	}
func (s *Source) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	position := *d
	position.Next()
	s.Position = caddyfileutil.PositionOf(&position)
	caddyfileutil.Head(d, &s.Name)
	if s.Name != "" {
		if err := names.CheckPoolName(s.Name); err != nil {
			return d.WrapErr(err)
		}
	}
	if !d.Next() { // neither block nor argument: a pool of the app
		if s.Name == "" {
			return d.Err("dynamic pool: write the name of a pool of the ballast global option, or a block with `to <address...>`")
		}
		return nil
	}
	d.Prev()
	return s.Config.unmarshal(d)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Source)(nil)
	_ reverseproxy.UpstreamSource = (*Source)(nil)
	_ caddyfile.Unmarshaler       = (*Source)(nil)
)
