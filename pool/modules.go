// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/discovery"
	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// check is a health check of the pool, with its identity.
type check struct {
	healthcheck.Check
	name, identity string
	written        string            // the identity without the options of the transport
	inherited      map[string]string // options of the proxies' transports
}

// steers reports whether the check is an agent, which does not test whether a backend works.
func (c *check) steers() bool {
	_, ok := c.Check.(healthcheck.AgentCheck)
	return ok
}

func (p *Pool) loadChecks(ctx caddy.Context, cfg *Config) error {
	identities, err := cfg.identities()
	if err != nil {
		return err
	}
	for _, identity := range identities {
		p.checks = append(p.checks, check{identity: identity, written: identity})
		p.identity += identity
	}
	if len(p.checks) == 0 {
		return nil
	}
	for _, raw := range cfg.HealthRaw {
		if err := httpx.DecodeGuest(raw, healthcheck.Namespace, healthcheck.InlineKey); err != nil {
			return fmt.Errorf("health: %w", err)
		}
	}
	mods, err := ctx.LoadModule(cfg, "HealthRaw")
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	for i, mod := range mods.([]any) {
		name := mod.(caddy.Module).CaddyModule().ID.Name()
		check, ok := mod.(healthcheck.Check)
		if !ok || check.Timing() == nil {
			return fmt.Errorf("health: %s is not a health check: %T must have a Probe method and embed healthcheck.Schedule", name, mod)
		}
		// Set the defaults of the schedule also if the check's own Provision does not.
		if err := check.Timing().Provision(ctx); err != nil {
			return fmt.Errorf("health: %s: %w", name, err)
		}
		p.checks[i].Check, p.checks[i].name = check, name
	}
	return nil
}

// looked and watched are sources of the two kinds, as guest modules.
type (
	looked struct {
		Raw []json.RawMessage `caddy:"namespace=http.reverse_proxy.upstreams inline_key=source"`
	}
	watched struct {
		Raw []json.RawMessage `caddy:"namespace=ballast.discovery inline_key=source"`
	}
)

// qualifier is written before the name of a source that is looked up if package discovery has another
// one of this name, as in `from upstreams.docker`.
const qualifier = "upstreams."

// upstreamNamespace is the namespace of Caddy's upstream sources, which are looked up at an interval.
const upstreamNamespace = "http.reverse_proxy.upstreams"

// sourceNamespaces returns the namespaces in which a source with this name may be.
func sourceNamespaces(name string) []string {
	if strings.HasPrefix(name, qualifier) {
		return []string{"http.reverse_proxy"}
	}
	return []string{discovery.Namespace, upstreamNamespace}
}

// isSource reports whether a qualified module name is in a namespace of sources.
func isSource(name string) bool {
	rest, qualified := strings.CutPrefix(name, qualifier)
	_, err := caddy.GetModule(upstreamNamespace + "." + rest)
	return !qualified || err == nil && rest != "pool"
}

func (p *Pool) loadSources(ctx caddy.Context, cfg *Config) error {
	if err := p.addSources(ctx, cfg.SourcesRaw, "", cfg.Refresh); err != nil {
		return err
	}
	for _, g := range cfg.Groups {
		if err := p.addSources(ctx, g.SourcesRaw, g.Name, cfg.Refresh); err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
	}
	return nil
}

// addSources adds the sources of a group of the pool, or of the main group.
func (p *Pool) addSources(ctx caddy.Context, raw []json.RawMessage, group string, refresh caddy.Duration) error {
	for _, written := range raw {
		var s struct{ Source string }
		_ = json.Unmarshal(written, &s) // an error is that of the module
		source, err := loadSource(ctx, s.Source, written, refresh)
		if err != nil {
			return fmt.Errorf("from %s: %w", s.Source, err)
		}
		source.group = group
		source.pool, source.discovery = p, sharedDiscovery(&p.refs, string(written))
		p.sources = append(p.sources, source)
	}
	return nil
}

// loadSource loads a source. If its name is in both namespaces, the source that pushes its backends is loaded.
func loadSource(ctx caddy.Context, name string, raw json.RawMessage, refresh caddy.Duration) (*source, error) {
	name, qualified := strings.CutPrefix(name, qualifier)
	if !qualified {
		if _, err := caddy.GetModule(discovery.Namespace + "." + name); err == nil {
			return loadWatched(ctx, raw)
		}
		return loadLooked(ctx, raw, refresh)
	}
	var options map[string]json.RawMessage
	if err := json.Unmarshal(raw, &options); err != nil {
		return nil, err
	}
	delete(options, discovery.InlineKey)
	return loadLooked(ctx, caddyconfig.JSONModuleObject(options, discovery.InlineKey, name, nil), refresh)
}

// loadLooked loads a source that is looked up. refresh is the interval of the pool.
func loadLooked(ctx caddy.Context, raw json.RawMessage, refresh caddy.Duration) (*source, error) {
	if err := checkSource(raw); err != nil {
		return nil, err
	}
	mods, err := ctx.LoadModule(&looked{[]json.RawMessage{raw}}, "Raw")
	if err != nil {
		return nil, err
	}
	mod := mods.([]any)[0]
	look, err := lookupOf(mod.(reverseproxy.UpstreamSource))
	if err != nil {
		return nil, err
	}
	name := mod.(caddy.Module).CaddyModule().ID.Name()
	every, err := refreshOf(raw, refresh)
	return &source{name: name, look: look, refresh: every, foreign: name != "a" && name != "srv"}, err
}

// loadWatched loads a source that is watched.
func loadWatched(ctx caddy.Context, raw json.RawMessage) (*source, error) {
	if err := httpx.DecodeGuest(raw, discovery.Namespace, discovery.InlineKey); err != nil {
		return nil, err
	}
	mods, err := ctx.LoadModule(&watched{[]json.RawMessage{raw}}, "Raw")
	if err != nil {
		return nil, err
	}
	mod := mods.([]any)[0]
	watch, ok := mod.(discovery.Source)
	if !ok {
		return nil, fmt.Errorf("%T has no Watch method", mod)
	}
	return &source{name: mod.(caddy.Module).CaddyModule().ID.Name(), watch: watch, refresh: defaultRefresh}, nil
}

// refreshOf returns the refresh interval of a source: its own option if it has one, or else the refresh of the
// pool.
func refreshOf(source json.RawMessage, pool caddy.Duration) (time.Duration, error) {
	var own struct {
		Refresh caddy.Duration `json:"refresh"`
	}
	if json.Unmarshal(source, &own) != nil {
		own.Refresh = 0 // a third-party source has no such option, or another meaning for it
	}
	if err := refreshes.Check("refresh", own.Refresh); err != nil {
		return 0, err
	}
	for _, d := range []caddy.Duration{own.Refresh, pool} {
		if d > 0 {
			return time.Duration(d), nil
		}
	}
	return defaultRefresh, nil
}
