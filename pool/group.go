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

// GroupConfig configures a group of a pool: backends that get a share of the requests, such as those
// with a new version. The other backends are the main group, which gets the other requests. A group
// needs a share, steps or matchers.
type GroupConfig struct {
	// Name is the name in metrics, logs and the admin API, unique in the pool: one word without colon,
	// slash or braces, and not "main".
	Name string `json:"name"`
	// Backends are the backends of the group that are known in advance.
	Backends []*BackendConfig `json:"backends,omitempty"`
	// SourcesRaw are sources of discovery, as those of the pool. What they find belongs to the group.
	SourcesRaw []json.RawMessage `json:"sources,omitempty" caddy:"namespace=http.reverse_proxy.upstreams inline_key=source"`
	// Share is the share of the requests, from 0 to 1. With Steps it is the first step, if it is below
	// theirs. Default: 0.
	Share *float64 `json:"share,omitempty"`
	// Key makes all requests with the same key go to the same group, as those of one client: a key
	// as in the policies. A client whose request is in the group stays there as the share rises.
	// Requests without the key go to random groups. Default: none, where each request goes to a
	// random group.
	Key string `json:"key,omitempty"`
	// KeyName is the name of the header field, query parameter or cookie of the key.
	KeyName string `json:"key_name,omitempty"`
	// WhenRaw selects requests that go to the group whatever its share, until it is aborted.
	WhenRaw caddyhttp.RawMatcherSets `json:"when,omitempty" caddy:"namespace=http.matchers"`
	// Steps are rising shares, above 0 and at most 1, that the group gets one after the other. A share of
	// 1 promotes it. Default: none, where the share stays as it is.
	Steps []float64 `json:"steps,omitempty"`
	// Every is how long a step lasts, at least 1s. It lasts longer while the group has fewer requests
	// than Abort's After, or than one, or no backend that takes requests. Required with Steps.
	Every caddy.Duration `json:"every,omitempty"`
	// Abort ends the rollout when the group is certainly worse than the main group. Default: never.
	Abort *AbortConfig `json:"abort,omitempty"`
	// Fallback sends a request whose attempt on the group has failed to the main group: after a failure
	// to connect any request, after another failure or a status of 500 or more those with a method of
	// `retry`, by default GET, HEAD, OPTIONS, PUT and DELETE. The failure counts for Abort. Default:
	// false.
	Fallback bool `json:"fallback,omitempty"`
}

// AbortConfig says when a rollout is aborted. It errs in at most 1 % of the rollouts of a group that
// is as allowed.
type AbortConfig struct {
	// Errors is how much larger than in the main group the share of errors may be, from 0 to 1. Errors
	// are statuses of 500 or more, gRPC statuses that mean the same, and attempts without an answer.
	Errors float64 `json:"errors"`
	// Quantile is a quantile of the times to the response header, from 0.5 to 0.9999, and Factor how many
	// times that of the main group it may be, above 1 and at most 1000. Default: none.
	Quantile float64 `json:"quantile,omitempty"`
	// Factor is required with Quantile.
	Factor float64 `json:"factor,omitempty"`
	// After is how many requests the group must have had in a step before the rollout is aborted or the
	// next step begins, from 1. Default: 100.
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
