// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// GroupConfig configures a group of a pool: backends that get a share of the requests, such as those with a new
// version. Backends in no group are the main group, which gets all other requests. Set at least one of Share, Steps
// and WhenRaw.
type GroupConfig struct {
	// Name is the name in metrics, logs and the admin API, unique in the pool: one word without colon,
	// slash or braces, and not "main".
	Name string `json:"name"`
	// Backends are the backends of the group that are known in advance.
	Backends []*BackendConfig `json:"backends,omitempty"`
	// SourcesRaw are sources of discovery whose backends belong to the group; see the sources of the
	// pool.
	SourcesRaw []json.RawMessage `json:"sources,omitempty" caddy:"namespace=http.reverse_proxy.upstreams inline_key=source"`
	// Share is the share of the requests, from 0 to 1. With Steps, it is a step before the first one,
	// which it must not exceed. Default: 0.
	Share *float64 `json:"share,omitempty"`
	// Key sends all requests with the same key to the same group, such as those of one client:
	// client_ip, uri, path, host, header, query, cookie, or a text with placeholders. While the share
	// rises, keys that are in the group stay there. Requests without the key go to a random group.
	// Default: none, where each request goes to a random group.
	Key string `json:"key,omitempty"`
	// KeyName is the name of the header field, query parameter or cookie. Required with those keys.
	KeyName string `json:"key_name,omitempty"`
	// WhenRaw selects requests that go to the group whatever its share, until it is aborted.
	WhenRaw caddyhttp.RawMatcherSets `json:"when,omitempty" caddy:"namespace=http.matchers"`
	// Steps are increasing shares, above 0 and at most 1, that the group gets one after the other. A
	// share of 1 promotes the group. Default: none, where the share does not change.
	Steps []float64 `json:"steps,omitempty"`
	// Every is how long a step lasts, from 1s to 365d. The next step is delayed while the group has no
	// backend that takes requests, and until it had a request in the step, or as many as Abort needs to
	// decide. Required with Steps.
	Every caddy.Duration `json:"every,omitempty"`
	// Abort aborts the rollout when the group is significantly worse than the main group. Default: never.
	Abort *AbortConfig `json:"abort,omitempty"`
	// Fallback sends a request again, to the main group, when its attempt on the group has failed. After
	// a failure to connect, it does so for any request; after another failure, or a status of 500 or
	// more, only for the methods of `retry`, by default GET, HEAD, OPTIONS, PUT and DELETE. The failure
	// counts for Abort. Default: false.
	Fallback bool `json:"fallback,omitempty"`
}

// AbortConfig configures the test that aborts a rollout. It aborts at most 1 % of the rollouts whose group is within
// these limits.
type AbortConfig struct {
	// Errors is by how much the share of errors may exceed that of the main group, from 0 to 1. Errors
	// are statuses of 500 or more, equivalent gRPC statuses, and attempts without an answer. Default: 0.
	Errors float64 `json:"errors"`
	// Quantile is the quantile of the times to the response header that is compared, from 0.5 to 0.9999.
	// Default: none, where latencies are not compared.
	Quantile float64 `json:"quantile,omitempty"`
	// Factor is how many times the quantile of the main group that of the group may be, above 1 and at
	// most 1000. Required with Quantile.
	Factor float64 `json:"factor,omitempty"`
	// After is the number of requests that the group needs in a step before the rollout can be aborted,
	// or the next step begins, at least 1. Default: 100.
	After int `json:"after,omitempty"`
}

// Bounds and defaults of the options of a group.
var (
	groupSteps     = caddyfileutil.Floats{Max: 1, Above: true, Ratio: true}
	stepDurations  = caddyfileutil.Durations{Min: time.Second, Max: caddyfileutil.Year}
	abortQuantiles = caddyfileutil.Floats{Min: 0.5, Max: 0.9999, Ratio: true}
	abortFactors   = caddyfileutil.Floats{Min: 1, Max: 1000, Above: true, Such: 1.5}
	abortAfters    = caddyfileutil.Ints{Min: 1, Max: math.MaxInt32}
)

const (
	defaultAfter = 100
	maxGroups    = 16
)

// plan returns the plan of the rollout, or an error if a setting is invalid.
func (g *GroupConfig) plan() (*rollout.Plan, error) {
	plan, share := &rollout.Plan{Every: time.Duration(g.Every)}, 0.0
	if g.Share != nil {
		share = *g.Share
	}
	if err := caddyfileutil.AnyRatio.Check("share", share); err != nil {
		return nil, err
	}
	if g.Share == nil && len(g.Steps) == 0 && len(g.WhenRaw) == 0 {
		return nil, errors.New("it gets no requests; write `share <ratio>`, `steps <ratio...> every <duration>` or `when <matcher>`")
	}
	if len(g.Steps) == 0 || share > 0 && share < g.Steps[0] {
		plan.Shares = append(plan.Shares, share)
	}
	before := share
	for i, step := range g.Steps {
		if err := groupSteps.Check("steps", step); err != nil {
			return nil, err
		}
		if step < before || i > 0 && step == before {
			return nil, fmt.Errorf("steps must rise, got %v%% after %v%%", 100*step, 100*before)
		}
		before = step
		plan.Shares = append(plan.Shares, step)
	}
	if len(g.Steps) == 0 && g.Every != 0 {
		return nil, errors.New("every needs steps; write `steps <ratio...> every <duration>`")
	}
	if len(g.Steps) > 0 {
		if err := stepDurations.Check("steps' every", g.Every); err != nil {
			return nil, err
		}
	}
	var err error
	plan.Abort, err = g.Abort.rules()
	return plan, err
}

// rules returns the rules of the test, or nil.
func (c *AbortConfig) rules() (*rollout.AbortRules, error) {
	if c == nil {
		return nil, nil
	}
	r := &rollout.AbortRules{Errors: c.Errors, Quantile: c.Quantile, Factor: c.Factor, After: defaultAfter}
	if err := caddyfileutil.AnyRatio.Check("abort's errors", c.Errors); err != nil {
		return nil, err
	}
	if (c.Quantile == 0) != (c.Factor == 0) {
		return nil, errors.New("abort needs a factor for its quantile; write such as abort errors +1% 95% 1.5")
	}
	if c.Quantile != 0 {
		if err := abortQuantiles.Check("abort's quantile", c.Quantile); err != nil {
			return nil, err
		}
		if err := abortFactors.Check("abort's factor", c.Factor); err != nil {
			return nil, err
		}
	}
	if c.After != 0 {
		if err := abortAfters.Check("abort's after", c.After); err != nil {
			return nil, err
		}
		r.After = uint64(c.After)
	}
	return r, nil
}

// key returns the key of the share, or nil.
func (g *GroupConfig) key() (*httpx.RequestKey, error) {
	if g.Key == "" && g.KeyName == "" {
		return nil, nil
	}
	k, err := httpx.NewRequestKey(g.Key, g.KeyName)
	return &k, err
}

// checkGroups returns an error for groups that are invalid.
func (c *Config) checkGroups() error {
	if len(c.Groups) > maxGroups {
		return fmt.Errorf("a pool may have at most %d groups, got %d", maxGroups, len(c.Groups))
	}
	names, sum := make(map[string]bool), 0.0
	for _, g := range c.Groups {
		if g == nil {
			return errors.New("a group is null; write an object with its name")
		}
		if err := checkGroupName(g.Name); err != nil {
			return err
		}
		if names[g.Name] {
			return fmt.Errorf("group %q is defined twice; names must differ", g.Name)
		}
		names[g.Name] = true
		_, err := g.plan()
		if err == nil {
			_, err = g.key()
		}
		if err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
		if g.Share != nil {
			sum += *g.Share
		}
	}
	if sum > 1+1e-9 {
		return fmt.Errorf("the shares of the groups are %.4g%% together, more than 100%%", 100*sum)
	}
	return nil
}

func checkGroupName(name string) error {
	if name == group.MainName {
		return errors.New(`the name "main" means the backends in no group; write another name for a group`)
	}
	if name == "" || len(name) > 100 || strings.ContainsAny(name, ":/{} \t\r\n\"\\") {
		return fmt.Errorf("a group's name must be one word of at most 100 bytes without colon, slash or braces, got %q", name)
	}
	return nil
}

// groupMembers returns the configured backends of the groups, with the name of their group.
func (c *Config) groupMembers() (all []*BackendConfig, err error) {
	for _, g := range c.Groups {
		for _, b := range g.Backends {
			switch {
			case b == nil:
				return nil, errors.New("a backend is null; write an object with its address as `dial`")
			case b.Group != "" && b.Group != g.Name:
				return nil, fmt.Errorf("backend %s is in group %s, and says %q", b.Dial, g.Name, b.Group)
			}
			in := *b
			in.Group = g.Name
			all = append(all, &in)
		}
	}
	return all, nil
}

// checkGroupsOf returns an error for a backend of a group that is not configured.
func (c *Config) checkGroupsOf(members []backend.Endpoint) error {
	for _, m := range members {
		if m.Group != "" && !c.hasGroup(m.Group) {
			return fmt.Errorf("backend %s: the pool has no group %q", m.Address, m.Group)
		}
	}
	return nil
}

func (c *Config) hasGroup(name string) bool {
	return slices.ContainsFunc(c.Groups, func(g *GroupConfig) bool { return g.Name == name })
}
