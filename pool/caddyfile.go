// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"maps"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/discovery"
	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// unmarshal parses the block of a pool.
func (c *Config) unmarshal(d *caddyfile.Dispenser) error {
	seen := newAddressSet()
	options := caddyfileutil.Options{
		"refresh": refreshes.Option(&c.Refresh),
		caddyfileutil.Repeat("health"): func(d *caddyfile.Dispenser) error {
			position := *d
			check, err := caddyfileutil.Module(d, healthcheck.Namespace, healthcheck.InlineKey, "check")
			if err != nil {
				return err
			}
			c.HealthRaw = append(c.HealthRaw, check)
			if _, err := c.identities(); err != nil {
				return position.WrapErr(err)
			}
			return nil
		},
		"outliers": func(d *caddyfile.Dispenser) error {
			c.Outliers = new(healthcheck.Outliers)
			return c.Outliers.Unmarshal(d)
		},
		"slow_start":   c.checked("slow_start takes a duration and an optional ratio; write slow_start <duration> [<min_ratio>]", c.parseSlowStart),
		"max_requests": fleetLimit(func(n int, fleet bool) { c.MaxRequests, c.MaxRequestsFleet = n, fleet }),
		"queue":        c.checked("queue takes a size and an optional duration; write queue <size> [<timeout>]", c.parseQueue),
		"retry_budget": c.checked("retry_budget takes a ratio and an optional number; write retry_budget <ratio> [<min>]", c.parseRetryBudget),
		"retry": func(d *caddyfile.Dispenser) error {
			c.Retry = new(Retry)
			return c.Retry.unmarshal(d)
		},
		"hedge": func(d *caddyfile.Dispenser) error {
			c.Hedge = new(Hedge)
			return c.Hedge.unmarshal(d)
		},
		"mirror": func(d *caddyfile.Dispenser) error {
			c.Mirror = new(Mirror)
			return c.Mirror.unmarshal(d)
		},
		"panic":       caddyfileutil.AnyRatio.Option(&c.Panic),
		"spill":       spills.Pointer(&c.Spill),
		"on_down":     onDownWords.Option(&c.OnDown),
		"subset":      subsetSizes.Option(&c.Subset),
		"locality":    c.checked("locality takes prefer and an optional ratio; write locality prefer [<margin>]", c.parseLocality),
		"orca_metric": caddyfileutil.Valid(caddyfileutil.String(&c.OrcaMetric), c.checkOrca),
		"orca_report": c.parseOrcaReport,
		"guard": func(d *caddyfile.Dispenser) error {
			var word string
			if err := (caddyfileutil.Words{"on", "off"}).Option(&word)(d); err != nil {
				return err
			}
			on := word == "on"
			c.Guard = &on
			return nil
		},
		caddyfileutil.Repeat("group"): func(d *caddyfile.Dispenser) error { return c.parseGroup(d, seen) },
	}
	maps.Copy(options, memberOptions(seen, &c.Backends, &c.SourcesRaw))
	if err := caddyfileutil.Block(d, options.Hint(poolWords)); err != nil {
		return err
	}
	if _, _, err := c.resolve(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// memberOptions are the options of a pool, or of a group of it, that name backends and their
// sources. seen are the addresses of the pool.
func memberOptions(seen *addressSet, backends *[]*BackendConfig, sources *[]json.RawMessage) caddyfileutil.Options {
	return caddyfileutil.Options{
		caddyfileutil.Repeat("to"): func(d *caddyfile.Dispenser) error {
			var addresses []string
			if err := caddyfileutil.Strings(&addresses)(d); err != nil {
				return err
			}
			for i, address := range addresses {
				if isOption(address) {
					return d.Errf("to: %q is an option, not an address; write %s with each option on a line of its own, or %s:80 for a host of that name",
						address, blockFor(addresses[:i]), address)
				}
				if err := addBackend(d, seen, backends, &BackendConfig{Dial: address}); err != nil {
					return err
				}
			}
			return nil
		},
		caddyfileutil.Repeat("backend"): func(d *caddyfile.Dispenser) error {
			position := *d // errors name this line, not the end of the block
			b := new(BackendConfig)
			if err := b.unmarshal(d); err != nil {
				return err
			}
			return addBackend(&position, seen, backends, b)
		},
		caddyfileutil.Repeat("from"): func(d *caddyfile.Dispenser) error {
			position := *d
			name := ""
			if next := *d; next.NextArg() {
				if name = next.Val(); !isSource(name) {
					return d.Errf("unknown source %q; write upstreams. before the name of a module of http.reverse_proxy.upstreams, such as upstreams.a", name)
				}
			}
			source, err := caddyfileutil.ModuleOf(d, sourceNamespaces(name), discovery.InlineKey, "source", "pool")
			if err != nil {
				return err
			}
			if err := checkSource(source); err != nil {
				return position.WrapErr(err)
			}
			*sources = append(*sources, source)
			return nil
		},
	}
}

// checked parses an option of one or two arguments. The error for any other number shows the
// synopsis.
func (c *Config) checked(synopsis string, parse func(args []string) error) caddyfileutil.Option {
	return caddyfileutil.OneOrTwo(synopsis, func(args []string) error {
		if err := parse(args); err != nil {
			return err
		}
		_, err := c.rules()
		return err
	})
}

func (c *Config) parseSlowStart(args []string) (err error) {
	c.SlowStart = new(SlowStart)
	if c.SlowStart.Window, err = windows.Parse("slow_start", args[0]); err != nil || len(args) == 1 {
		return err
	}
	ratio, err := minRatios.Parse("slow_start's min_ratio", args[1])
	c.SlowStart.MinRatio = &ratio
	return err
}

func (c *Config) parseQueue(args []string) (err error) {
	c.Queue = new(Queue)
	if c.Queue.Size, err = queueSizes.Parse("queue's size", args[0]); err != nil || len(args) == 1 {
		return err
	}
	c.Queue.Timeout, err = caddyfileutil.ParseDuration("queue's timeout", args[1])
	return err
}

func (c *Config) parseRetryBudget(args []string) (err error) {
	c.RetryBudget = new(RetryBudget)
	if c.RetryBudget.Ratio, err = caddyfileutil.AnyRatio.Parse("retry_budget", args[0]); err != nil || len(args) == 1 {
		return err
	}
	n, err := minRetries.Parse("retry_budget's min", args[1])
	c.RetryBudget.Min = &n
	return err
}

// addBackend appends a backend, or returns an error that names its line.
func addBackend(d *caddyfile.Dispenser, seen *addressSet, all *[]*BackendConfig, b *BackendConfig) error {
	settings, scheme, err := b.resolve(0, false)
	if err == nil {
		err = seen.add(settings, scheme)
	}
	if err != nil {
		return d.WrapErr(err)
	}
	*all = append(*all, b)
	return nil
}

// unmarshal parses one backend.
func (b *BackendConfig) unmarshal(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("backend: the address is missing; write backend <address>")
	}
	b.Dial = d.Val()
	if _, _, err := parseAddress(b.Dial); err != nil {
		return d.WrapErr(err) // the error names the line of the address
	}
	meta := make(map[string]string)
	err := caddyfileutil.Block(d, b.options(meta))
	if len(meta) > 0 {
		b.Meta = meta
	}
	return err
}

// options are the options of a backend's block.
func (b *BackendConfig) options(meta map[string]string) caddyfileutil.Options {
	return caddyfileutil.Options{
		"id":                         caddyfileutil.Valid(caddyfileutil.String(&b.ID), func() error { return checkID(b.ID) }),
		"weight":                     backend.Weights.Pointer(&b.Weight),
		"max_requests":               fleetLimit(func(n int, fleet bool) { b.MaxRequests, b.MaxRequestsFleet = &n, fleet }),
		"tier":                       backend.Tiers.Option(&b.Tier),
		"backup":                     caddyfileutil.Flag(&b.Backup),
		"zone":                       caddyfileutil.Valid(caddyfileutil.String(&b.Zone), b.CheckZone),
		"instance":                   caddyfileutil.Valid(caddyfileutil.String(&b.Instance), b.CheckInstance),
		caddyfileutil.Repeat("meta"): caddyfileutil.Pair(meta),
	}.Hint(backendWords)
}
