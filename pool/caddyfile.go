// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/dispense"
)

// unmarshal parses the block of a pool.
func (c *Config) unmarshal(d *caddyfile.Dispenser) error {
	seen := newSeen()
	err := dispense.Block(d, dispense.Options{
		dispense.Repeat("to"): func(d *caddyfile.Dispenser) error {
			var addresses []string
			if err := dispense.Strings(&addresses)(d); err != nil {
				return err
			}
			for _, address := range addresses {
				if err := c.add(d, seen, &BackendConfig{Dial: address}); err != nil {
					return err
				}
			}
			return nil
		},
		dispense.Repeat("backend"): func(d *caddyfile.Dispenser) error {
			at := *d // errors are said here, not at the end of the block
			b := new(BackendConfig)
			if err := b.unmarshal(d); err != nil {
				return err
			}
			return c.add(&at, seen, b)
		},
		dispense.Repeat("from"): func(d *caddyfile.Dispenser) error {
			at := *d
			source, err := dispense.Module(d, "http.reverse_proxy.upstreams", "source", "source", "pool")
			if err != nil {
				return err
			}
			if err := checkSource(source); err != nil {
				return at.WrapErr(err)
			}
			c.SourcesRaw = append(c.SourcesRaw, source)
			return nil
		},
		"refresh": dispense.Duration(&c.Refresh),
		dispense.Repeat("health"): func(d *caddyfile.Dispenser) error {
			at := *d
			check, err := dispense.Module(d, healthcheck.Namespace, healthcheck.InlineKey, "check")
			if err != nil {
				return err
			}
			c.HealthRaw = append(c.HealthRaw, check)
			if _, err := c.identities(); err != nil {
				return at.WrapErr(err)
			}
			return nil
		},
		"outliers": func(d *caddyfile.Dispenser) error {
			c.Outliers = new(healthcheck.Outliers)
			return c.Outliers.Unmarshal(d)
		},
		"slow_start": dispense.Valid(c.unmarshalSlowStart, func() error { _, err := c.rules(); return err }),
		"panic": func(d *caddyfile.Dispenser) error {
			var ratio *float64
			if err := dispense.Ratio(&ratio)(d); err != nil {
				return err
			}
			c.Panic = *ratio
			return nil
		},
		"guard": func(d *caddyfile.Dispenser) error {
			var word string
			if err := dispense.Enum(&word, "on", "off")(d); err != nil {
				return err
			}
			on := word == "on"
			c.Guard = &on
			return nil
		},
	})
	if err != nil {
		return err
	}
	if _, _, err := c.resolve(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalSlowStart parses slow_start <duration> [<min_ratio>].
func (c *Config) unmarshalSlowStart(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("slow_start takes a duration and perhaps a ratio; write slow_start <duration> [<min_ratio>]")
	}
	if err := dispense.NoBlock(d, "slow_start"); err != nil {
		return err
	}
	c.SlowStart = new(SlowStart)
	// As options of one argument each.
	words := func(name, value string) *caddyfile.Dispenser {
		of := caddyfile.NewDispenser([]caddyfile.Token{
			{File: d.File(), Line: d.Line(), Text: name}, {File: d.File(), Line: d.Line(), Text: value},
		})
		of.Next()
		return of
	}
	if err := dispense.Duration(&c.SlowStart.Window)(words("slow_start", args[0])); err != nil {
		return err
	}
	if len(args) == 2 {
		return dispense.Ratio(&c.SlowStart.MinRatio)(words("slow_start's min_ratio", args[1]))
	}
	return nil
}

// add appends a backend, or says at its line what is wrong with it.
func (c *Config) add(d *caddyfile.Dispenser, seen *seen, b *BackendConfig) error {
	settings, scheme, err := b.resolve()
	if err == nil {
		err = seen.add(settings, scheme)
	}
	if err != nil {
		return d.WrapErr(err)
	}
	c.Backends = append(c.Backends, b)
	return nil
}

// unmarshal parses one backend.
func (b *BackendConfig) unmarshal(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("backend: the address is missing; write backend <address>")
	}
	b.Dial = d.Val()
	if _, _, err := parseAddress(b.Dial); err != nil {
		return d.WrapErr(err) // here, the line is the address's
	}
	meta := make(map[string]string)
	err := dispense.Block(d, dispense.Options{
		"id":                    dispense.String(&b.ID),
		"weight":                dispense.IntPtr(&b.Weight, 0, maxWeight),
		"tier":                  dispense.Int(&b.Tier, 0, maxTier),
		"backup":                dispense.Flag(&b.Backup),
		dispense.Repeat("meta"): dispense.Pair(meta),
	})
	if len(meta) > 0 {
		b.Meta = meta
	}
	return err
}
