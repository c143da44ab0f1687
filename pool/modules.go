// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

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
		// Also set the defaults of a check whose own Provision does not call that of the
		// schedule.
		if err := check.Timing().Provision(ctx); err != nil {
			return fmt.Errorf("health: %s: %w", name, err)
		}
		p.checks[i].Check, p.checks[i].name = check, name
	}
	return nil
}

func (p *Pool) loadSources(ctx caddy.Context, cfg *Config) error {
	if len(cfg.SourcesRaw) == 0 {
		return nil
	}
	for _, raw := range cfg.SourcesRaw {
		if err := checkSource(raw); err != nil {
			return err
		}
	}
	raws := slices.Clone(cfg.SourcesRaw)
	mods, err := ctx.LoadModule(cfg, "SourcesRaw")
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	for i, mod := range mods.([]any) {
		look, err := lookupOf(mod.(reverseproxy.UpstreamSource))
		if err != nil {
			return fmt.Errorf("from: %w", err)
		}
		name := mod.(caddy.Module).CaddyModule().ID.Name()
		refresh, err := refreshOf(raws[i], cfg.Refresh)
		if err != nil {
			return fmt.Errorf("from %s: %w", name, err)
		}
		s := &source{name: name, look: look, refresh: refresh, pool: p, foreign: name != "a" && name != "srv"}
		s.discovery = sharedDiscovery(&p.refs, string(raws[i]))
		p.sources = append(p.sources, s)
	}
	return nil
}

// refreshOf returns the refresh interval of a source: its own option if it has one, or else
// that of the pool.
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
