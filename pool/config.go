// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/slowstart"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// Config is the configuration of a pool. A pool without backends and sources gets its backends
// at run time, by the admin API or by registration.
type Config struct {
	// Backends are the backends that are known in advance.
	Backends []*BackendConfig `json:"backends,omitempty"`
	// SourcesRaw are upstream sources, of reverse_proxy or of third parties, that discover
	// further backends in the background. With the source "srv", the priority of a record
	// becomes the tier and its weight the weight.
	SourcesRaw []json.RawMessage `json:"sources,omitempty" caddy:"namespace=http.reverse_proxy.upstreams inline_key=source"`
	// Refresh is how often sources are looked up, at least 100ms. While a source fails, its
	// last good answer is kept. Default: 10s.
	Refresh caddy.Duration `json:"refresh,omitempty"`
	// HealthRaw are the health checks. A backend must pass all of them.
	HealthRaw []json.RawMessage `json:"health,omitempty" caddy:"namespace=ballast.checks inline_key=check"`
	// Outliers ejects backends because of the outcomes of live requests. On by default.
	Outliers *healthcheck.Outliers `json:"outliers,omitempty"`
	// SlowStart ramps up the weight of a backend that joins or recovers, while it answers well.
	// It does not apply when all backends are new. Default: off.
	SlowStart *SlowStart `json:"slow_start,omitempty"`
	// Panic is the share of healthy backends, from 0 to 1, below which health is ignored: all
	// backends get requests, so that the few healthy ones are not overloaded. Default: 0,
	// never.
	Panic float64 `json:"panic,omitempty"`
	// Spill is the factor, from 1 to 1000, by which a tier is larger than its load needs. With
	// 1.4, a tier takes all requests while at least 1/1.4, or 71 %, of its backends are
	// healthy; below that, the excess goes to the next tier. With 0, in a Caddyfile off, a tier
	// takes all requests while it has a healthy backend. Default: 1.4.
	Spill *float64 `json:"spill,omitempty"`
	// MaxRequests is the most requests in flight for each backend without a max_requests of its
	// own; 0 for no limit. It is never exceeded: when all backends are full, requests wait in
	// the queue or get a 503. Default: 0.
	MaxRequests int `json:"max_requests,omitempty"`
	// MaxRequestsFleet divides MaxRequests among the living instances of the fleet, so that all of
	// them together do not exceed it. It needs MaxRequests, and `fleet` in the ballast global
	// option. Default: false, where each instance has the limit for itself.
	MaxRequestsFleet bool `json:"max_requests_fleet,omitempty"`
	// Queue makes requests wait for a free slot while all backends are full. Default: off.
	Queue *Queue `json:"queue,omitempty"`
	// RetryBudget limits retries to a share of the requests. Default: off.
	RetryBudget *RetryBudget `json:"retry_budget,omitempty"`
	// Retry makes further attempts for requests that failed. Default: off.
	Retry *Retry `json:"retry,omitempty"`
	// Hedge makes a second attempt, on another backend, for requests whose first one is late.
	// Default: off.
	Hedge *Hedge `json:"hedge,omitempty"`
	// Mirror sends copies of requests to other backends, and discards the answers. Default: off.
	Mirror *Mirror `json:"mirror,omitempty"`
	// Groups are sets of backends with a share of the requests, for canary releases. Default: none.
	Groups []*GroupConfig `json:"groups,omitempty"`
	// OnDown is what happens to the open streams of a backend that goes down or into maintenance: keep or
	// close. A stream is an upgraded connection, such as a WebSocket, a response whose header has been
	// received, or a TCP connection. An ejection closes no streams. Default: keep.
	OnDown string `json:"on_down,omitempty"`
	// Subset is how many backends of each tier this instance uses, at least 1; with Locality, as many
	// in its zone and as many elsewhere. With a fleet, each backend is used by the same number of
	// instances, to within one; else the subset depends on Caddy's instance id. The other backends
	// are not probed. They get requests of their sessions, and others while no backend of the subset is
	// healthy. Default: all.
	Subset int `json:"subset,omitempty"`
	// Locality keeps requests in the zone of this instance. Default: off.
	Locality *Locality `json:"locality,omitempty"`
	// OrcaMetric is the metric of load reports that is used as the utilization of a backend: a key of
	// named_metrics, also written named_metrics.key, or utilization.key. The option does not affect
	// reports without the metric. If a report has the metric but no request rate, the measured rate of
	// the requests to the backend is used. Default: none.
	OrcaMetric string `json:"orca_metric,omitempty"`
	// OrcaReport is the interval at which backends are asked to report their load out of band, with the
	// gRPC service xds.service.orca.v3.OpenRcaService, from 100ms to 1m. In a Caddyfile without an
	// interval it is 10s. Default: off, where only the reports in responses are read.
	OrcaReport caddy.Duration `json:"orca_report,omitempty"`
	// Guard holds the last status of backends when most of them fail the same check within one
	// interval while their traffic succeeds. Default: true.
	Guard *bool `json:"guard,omitempty"`
}

// SlowStart configures the ramp of a new or recovered backend.
type SlowStart struct {
	// Window is the time until a backend has its full weight, at least 100ms.
	Window caddy.Duration `json:"window,omitempty"`
	// MinRatio is the share of its weight that a backend starts with, above 0 and at most 1.
	// Default: 0.1.
	MinRatio *float64 `json:"min_ratio,omitempty"`
}

const defaultMinRatio = 0.1

// Bounds of options.
var (
	refreshes = caddyfileutil.Durations{Min: 100 * time.Millisecond, Max: caddyfileutil.Year}
	windows   = caddyfileutil.Durations{Min: 100 * time.Millisecond, Max: caddyfileutil.Year} // at least one step of the control loop
	minRatios = caddyfileutil.Floats{Max: 1, Above: true, Ratio: true}
	spills    = caddyfileutil.Floats{Min: 1, Max: 1000, Off: true, Such: tiers.DefaultSpill}
)

// onDownClose closes streams. onDownWords are all values of the option.
const onDownClose = "close"

var onDownWords = caddyfileutil.Words{"keep", onDownClose}

// rules returns the rules of the pool for its backends, or an error if a setting is invalid.
func (c *Config) rules() (rules pool.Options, err error) {
	if rules.Outliers, err = c.Outliers.Rules(); err != nil {
		return rules, fmt.Errorf("outliers: %w", err)
	}
	if s := c.SlowStart; s != nil {
		rules.SlowStart = slowstart.Settings{Window: time.Duration(s.Window), MinRatio: defaultMinRatio}
		if s.MinRatio != nil {
			rules.SlowStart.MinRatio = *s.MinRatio
		}
		if s.Window == 0 {
			return rules, errors.New("slow_start must have a window such as 30s")
		}
		if err := windows.Check("slow_start", s.Window); err != nil {
			return rules, err
		}
		if err := minRatios.Check("slow_start's min_ratio", rules.SlowStart.MinRatio); err != nil {
			return rules, err
		}
	}
	rules.Panic = c.Panic
	if err := caddyfileutil.AnyRatio.Check("panic", c.Panic); err != nil {
		return rules, err
	}
	rules.Spill = tiers.DefaultSpill
	if c.Spill != nil {
		rules.Spill = *c.Spill
	}
	if err := cmp.Or(spills.Check("spill", rules.Spill), backend.Limits.Check("max_requests", c.MaxRequests)); err != nil {
		return rules, err
	}
	if c.MaxRequestsFleet && c.MaxRequests == 0 {
		return rules, errNothingToShare
	}
	if rules.Queue, err = c.Queue.rules(); err != nil {
		return rules, err
	}
	rules.CloseOnDown = c.OnDown == onDownClose
	if err := onDownWords.Check("on_down", c.OnDown); err != nil {
		return rules, err
	}
	rules.OrcaMetric = c.OrcaMetric
	if err := c.checkOrca(); err != nil {
		return rules, err
	}
	if c.Subset != 0 {
		if err := subsetSizes.Check("subset", c.Subset); err != nil {
			return rules, err
		}
	}
	if rules.Locality, err = c.Locality.rules(); err != nil {
		return rules, err
	}
	if rules.Retry, err = c.Retry.policy(); err != nil {
		return rules, err
	}
	if rules.Hedge, err = c.Hedge.policy(); err != nil {
		return rules, err
	}
	rules.Retries, err = c.RetryBudget.rules()
	return rules, err
}

// empty reports whether no option of a pool is set.
func (c *Config) empty() bool {
	return len(c.Backends) == 0 && len(c.SourcesRaw) == 0 && c.Refresh == 0 && len(c.HealthRaw) == 0 &&
		c.Outliers == nil && c.SlowStart == nil && c.Panic == 0 && c.Spill == nil && c.Guard == nil &&
		c.MaxRequests == 0 && !c.MaxRequestsFleet && c.Queue == nil && c.RetryBudget == nil && c.Retry == nil && c.Hedge == nil && c.Mirror == nil && len(c.Groups) == 0 && c.OnDown == "" && c.Subset == 0 && c.Locality == nil && c.OrcaMetric == "" && c.OrcaReport == 0
}

// resolve returns the settings of the configured backends and their scheme.
func (c *Config) resolve() (members []backend.Endpoint, scheme string, err error) {
	if err := refreshes.Check("refresh", c.Refresh); err != nil {
		return nil, "", err
	}
	if _, err := c.rules(); err != nil {
		return nil, "", err
	}
	if err := c.checkGroups(); err != nil {
		return nil, "", err
	}
	inGroups, err := c.groupMembers()
	if err != nil {
		return nil, "", err
	}
	seen := newAddressSet()
	for _, b := range append(slices.Clip(c.Backends), inGroups...) {
		if b == nil {
			return nil, "", errors.New("a backend is null; write an object with its address as `dial`")
		}
		if err := checkFixed(&b.Settings); err != nil {
			return nil, "", fmt.Errorf("backend %s: %w", b.Dial, err)
		}
		settings, s, err := b.resolve(c.MaxRequests, c.MaxRequestsFleet)
		if err == nil {
			err = seen.add(settings, s)
		}
		if err != nil {
			return nil, "", err
		}
		members = append(members, settings...)
	}
	if c.Mirror != nil {
		if _, err := c.Mirror.policy(seen.scheme); err != nil {
			return nil, "", err
		}
	}
	return members, seen.scheme, cmp.Or(c.checkGroupsOf(members), c.checkLimits(members))
}

// identities returns the identities of the checks, which must differ.
func (c *Config) identities() (all []string, err error) {
	for _, raw := range c.HealthRaw {
		identity, err := healthcheck.Identity(raw)
		if err != nil {
			return nil, fmt.Errorf("health: %w", err)
		}
		if slices.Contains(all, identity) {
			return nil, errors.New("health: two checks differ only in their schedule; write one")
		}
		all = append(all, identity)
	}
	return all, nil
}
