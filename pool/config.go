// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/dispense"
)

// Config is what a user writes of a pool. A pool needs backends or sources.
type Config struct {
	// Backends are the members that are known in advance.
	Backends []*BackendConfig `json:"backends,omitempty"`
	// SourcesRaw are upstream sources, of reverse_proxy or third parties, that
	// discover further members in the background. With the source "srv", a
	// record's priority becomes the tier and its weight the weight.
	SourcesRaw []json.RawMessage `json:"sources,omitempty" caddy:"namespace=http.reverse_proxy.upstreams inline_key=source"`
	// Refresh is how often sources are asked. The last good answer is kept
	// while they fail. Default: 10s.
	Refresh caddy.Duration `json:"refresh,omitempty"`
	// HealthRaw are the health checks; a backend must pass all of them.
	HealthRaw []json.RawMessage `json:"health,omitempty" caddy:"namespace=ballast.checks inline_key=check"`
	// Outliers eject backends by what becomes of the requests they get. On by
	// default.
	Outliers *healthcheck.Outliers `json:"outliers,omitempty"`
	// SlowStart has a backend that joins, or recovers, come to its weight by and
	// by, while it answers well. Not when all backends are new. Default: off.
	SlowStart *SlowStart `json:"slow_start,omitempty"`
	// Panic is the share of healthy backends, from 0 to 1, below which health is
	// ignored: all get requests, lest the few that are left break too. Default:
	// 0, for never.
	Panic float64 `json:"panic,omitempty"`
	// Guard holds the last state of backends when most of them fail the same
	// check within one interval while their traffic succeeds. Default: true.
	Guard *bool `json:"guard,omitempty"`
}

// SlowStart is how a backend comes to its weight.
type SlowStart struct {
	// Window is how long it takes.
	Window caddy.Duration `json:"window,omitempty"`
	// MinRatio is the share of its weight that it begins with, above 0 and at
	// most 1. Default: 0.1.
	MinRatio *float64 `json:"min_ratio,omitempty"`
}

const defaultMinRatio = 0.1

// rules returns how the pool treats its members, or what is wrong.
func (c *Config) rules() (rules backend.Rules, err error) {
	if rules.Outliers, err = c.Outliers.Rules(); err != nil {
		return rules, fmt.Errorf("outliers: %w", err)
	}
	if s := c.SlowStart; s != nil {
		rules.SlowStart = backend.SlowStart{Window: time.Duration(s.Window), MinRatio: defaultMinRatio}
		if s.MinRatio != nil {
			rules.SlowStart.MinRatio = *s.MinRatio
		}
		if s.Window <= 0 {
			return rules, fmt.Errorf("slow_start must have a window above zero such as 30s, got %v", rules.SlowStart.Window)
		}
		if r := rules.SlowStart.MinRatio; !(r > 0 && r <= 1) {
			return rules, fmt.Errorf("slow_start must have a min_ratio above 0 and at most 1, got %v", r)
		}
	}
	if rules.Panic = c.Panic; !(c.Panic >= 0 && c.Panic <= 1) {
		return rules, fmt.Errorf("panic must be a ratio from 0 to 1, got %v", c.Panic)
	}
	return rules, nil
}

// BackendConfig is one backend that is known in advance.
type BackendConfig struct {
	// Dial is the address: host:port, unix//path, an http://, https:// or
	// h2c:// URL. A port range stands for as many backends. All backends of a
	// pool must have the same scheme.
	Dial string `json:"dial"`
	// ID is the backend's name in cookies, metrics and the admin API, unique
	// in the pool. Default: the address.
	ID string `json:"id,omitempty"`
	// Weight is the share of requests relative to the others in the tier, at
	// most 65535; 0 takes no new requests. Default: 1.
	Weight *int `json:"weight,omitempty"`
	// Tier serves only while no lower tier has an eligible backend. Default: 0.
	Tier int `json:"tier,omitempty"`
	// Backup is the same as tier 1.
	Backup bool `json:"backup,omitempty"`
	// Meta is free text by key, shown where the backend is.
	Meta map[string]string `json:"meta,omitempty"`
}

// Bounds of a backend's settings.
const (
	maxWeight = 65535 // as in a DNS SRV record
	maxTier   = 65535 // as the priority there
)

// empty reports whether nothing of a pool is configured.
func (c *Config) empty() bool {
	return len(c.Backends) == 0 && len(c.SourcesRaw) == 0 && c.Refresh == 0 && len(c.HealthRaw) == 0 &&
		c.Outliers == nil && c.SlowStart == nil && c.Panic == 0 && c.Guard == nil
}

// resolve returns the settings of the configured backends and their scheme, or
// what is wrong.
func (c *Config) resolve() (members []backend.Settings, scheme string, err error) {
	if len(c.Backends) == 0 && len(c.SourcesRaw) == 0 {
		return nil, "", errors.New("the pool has no members; write `to <address...>`, `backend <address>` or `from <source>`")
	}
	if err := dispense.CheckDuration("refresh", c.Refresh); err != nil {
		return nil, "", err
	}
	if _, err := c.rules(); err != nil {
		return nil, "", err
	}
	seen := newSeen()
	for _, b := range c.Backends {
		if b == nil {
			return nil, "", errors.New("a backend is null; write an object with its address as `dial`")
		}
		settings, s, err := b.resolve()
		if err == nil {
			err = seen.add(settings, s)
		}
		if err != nil {
			return nil, "", err
		}
		members = append(members, settings...)
	}
	return members, seen.scheme, nil
}

// resolve returns the settings of the backends that b stands for.
func (b *BackendConfig) resolve() (all []backend.Settings, scheme string, err error) {
	dials, scheme, err := parseAddress(b.Dial)
	if err != nil {
		return nil, "", err
	}
	weight, tier := 1, b.Tier
	if b.Weight != nil {
		weight = *b.Weight
	}
	if b.Backup {
		tier = 1
	}
	switch {
	case weight < 0 || weight > maxWeight:
		return nil, "", fmt.Errorf("backend %s: weight must be from 0 to %d, got %d", b.Dial, maxWeight, weight)
	case b.Tier < 0 || b.Tier > maxTier:
		return nil, "", fmt.Errorf("backend %s: tier must be from 0 to %d, got %d", b.Dial, maxTier, b.Tier)
	case b.Backup && b.Tier != 0:
		return nil, "", fmt.Errorf("backend %s: backup is tier 1; write backup or tier, not both", b.Dial)
	case strings.ContainsFunc(b.ID, unicode.IsControl) || !utf8.ValidString(b.ID):
		return nil, "", fmt.Errorf("backend %s: id must be readable text, got %q", b.Dial, b.ID)
	case b.ID != "" && len(dials) > 1:
		return nil, "", fmt.Errorf("backend %s: an id cannot name %d backends; write a `backend` for each port", b.Dial, len(dials))
	}
	for _, dial := range dials {
		s := backend.Settings{Address: dial, ID: b.ID, Weight: weight, Tier: tier, Meta: maps.Clone(b.Meta)}
		if s.ID == "" {
			s.ID = dial
		}
		all = append(all, s)
	}
	return all, scheme, nil
}

// identities returns what tells the checks from each other.
func (c *Config) identities() (all []string, err error) {
	for _, raw := range c.HealthRaw {
		identity, err := healthcheck.Identity(raw)
		if err != nil {
			return nil, fmt.Errorf("health: %w", err)
		}
		if slices.Contains(all, identity) {
			return nil, errors.New("health: two checks differ in nothing but their schedule; write one")
		}
		all = append(all, identity)
	}
	return all, nil
}

// seen finds what must not be repeated, or differ, among backends.
type seen struct {
	addresses, ids map[string]bool
	scheme         string
	any            bool
}

func newSeen() *seen { return &seen{addresses: make(map[string]bool), ids: make(map[string]bool)} }

func (s *seen) add(all []backend.Settings, scheme string) error {
	for _, b := range all {
		switch {
		case s.addresses[b.Address]:
			return fmt.Errorf("backend %s is in the pool twice; write it once", b.Address)
		case s.ids[b.ID]:
			return fmt.Errorf("id %q is given to two backends; ids must differ", b.ID)
		}
		s.addresses[b.Address], s.ids[b.ID] = true, true
	}
	if s.any && scheme != s.scheme {
		return fmt.Errorf("a pool's backends must have one scheme, got %s and %s; write the same for all, or two pools", schemeName(s.scheme), schemeName(scheme))
	}
	s.any, s.scheme = true, scheme
	return nil
}

func schemeName(scheme string) string {
	if scheme == "" {
		return "none"
	}
	return scheme + "://"
}

// checkName rejects what cannot be told from an address.
func checkName(name string) error {
	odd := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(":/{}", r)
	}
	if name == "" || strings.ContainsFunc(name, odd) || !utf8.ValidString(name) {
		return fmt.Errorf("a pool's name must be one word without colon, slash or braces, got %q", name)
	}
	return nil
}
