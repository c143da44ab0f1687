// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
)

// check is a health check of the pool and what tells it from others.
type check struct {
	healthcheck.Check
	name, identity string
}

func (p *Pool) loadChecks(ctx caddy.Context, cfg *Config) error {
	identities, err := cfg.identities()
	if err != nil {
		return err
	}
	for _, identity := range identities {
		p.checks = append(p.checks, check{identity: identity})
		p.identity += identity
	}
	if len(p.checks) == 0 {
		return nil
	}
	mods, err := ctx.LoadModule(cfg, "HealthRaw")
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	for i, mod := range mods.([]any) {
		p.checks[i].Check = mod.(healthcheck.Check)
		p.checks[i].name = mod.(caddy.Module).CaddyModule().ID.Name()
	}
	return nil
}

func (p *Pool) loadSources(ctx caddy.Context, cfg *Config) error {
	if len(cfg.SourcesRaw) == 0 {
		return nil
	}
	refresh := time.Duration(cfg.Refresh)
	if refresh == 0 {
		refresh = defaultRefresh
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
		s := &source{name: name, look: look, refresh: refresh, pool: p}
		s.discovery = leaseDiscovery(&p.leases, string(raws[i]))
		p.sources = append(p.sources, s)
	}
	return nil
}
