// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
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
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// Queue configures how requests wait while all backends are full.
type Queue struct {
	// Size is the maximum number of waiting requests, from 1 to 1000000. When the queue is full, further
	// requests get a 503. Required.
	Size int `json:"size,omitempty"`
	// Timeout is how long a request waits before it gets a 503. Default: 1s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

const defaultQueueTimeout = time.Second

// queueSizes bounds the size of a queue.
var queueSizes = caddyfileutil.Ints{Min: 1, Max: 1_000_000}

// rules returns the rules of the queue, or an error if a setting is invalid.
func (q *Queue) rules() (rules pool.QueueRules, err error) {
	if q == nil {
		return rules, nil
	}
	if err := queueSizes.Check("queue's size", q.Size); err != nil {
		return rules, err
	}
	if err := caddyfileutil.CheckDuration("queue's timeout", q.Timeout); err != nil {
		return rules, err
	}
	rules = pool.QueueRules{Size: q.Size, Timeout: time.Duration(q.Timeout)}
	if q.Timeout == 0 {
		rules.Timeout = defaultQueueTimeout
	}
	return rules, nil
}

// RetryBudget limits retries.
type RetryBudget struct {
	// Ratio is the most retries per request, from 0 to 1, over the last 10s.
	Ratio float64 `json:"ratio,omitempty"`
	// Min is the number of retries per second that are always allowed, so that a pool with few
	// requests can retry them. Default: 10.
	Min *int `json:"min,omitempty"`
}

const defaultMinRetries = 10

// minRetries bounds the min of a retry budget.
var minRetries = caddyfileutil.Ints{Max: 1_000_000}

// rules returns the rules of the retry budget, or an error if a setting is invalid.
func (b *RetryBudget) rules() (*retry.Rules, error) {
	if b == nil {
		return nil, nil
	}
	rules := &retry.Rules{Ratio: b.Ratio, Min: defaultMinRetries}
	if b.Min != nil {
		rules.Min = *b.Min
	}
	if err := caddyfileutil.AnyRatio.Check("retry_budget", b.Ratio); err != nil {
		return nil, err
	}
	return rules, minRetries.Check("retry_budget's min", rules.Min)
}

// fleetWord is the word after a limit that divides it among the instances of the fleet.
const fleetWord = "fleet"

// fleetLimit is the option max_requests.
func fleetLimit(set func(n int, fleet bool)) caddyfileutil.Option {
	return caddyfileutil.OneOrTwo("max_requests takes a number and optionally the word fleet; write max_requests <n> [fleet]", func(args []string) error {
		n, err := backend.Limits.Parse("max_requests", args[0])
		switch {
		case err != nil:
			return err
		case len(args) > 1 && args[1] != fleetWord:
			return fmt.Errorf("max_requests: unexpected argument %q; write max_requests <n> [fleet]", args[1])
		case len(args) > 1 && n == 0:
			return errNothingToShare
		}
		set(n, len(args) > 1)
		return nil
	})
}

// errNothingToShare means that a limit of the fleet is 0, which is no limit.
var errNothingToShare = errors.New("a limit of the fleet must be above 0; write `max_requests <n> fleet`, in JSON max_requests beside max_requests_fleet")

// errNoFleet means that a limit of the fleet is configured without a fleet.
var errNoFleet = errors.New("max_requests <n> fleet needs a fleet; write `fleet { store redis <address> }`, or another store, in the ballast global option, or remove the word fleet")

// checkFleet rejects limits of the fleet without one.
func (p *Pool) checkFleet(limits ...backend.Endpoint) error {
	if p.app.Fleet() == nil && (p.limitFleet || slices.ContainsFunc(limits, func(e backend.Endpoint) bool { return e.MaxRequestsFleet })) {
		return errNoFleet
	}
	return nil
}

// checkLimits rejects a queue in which no request would ever wait.
func (c *Config) checkLimits(members []backend.Endpoint) error {
	limited := func(e backend.Endpoint) bool { return *e.MaxRequests > 0 }
	if c.Queue == nil || c.MaxRequests > 0 || slices.ContainsFunc(members, limited) || slices.ContainsFunc(c.HealthRaw, steers) {
		return nil
	}
	return errors.New("queue has no effect, since no backend has a limit; write `max_requests <n>` in the pool or in a `backend`")
}

// steers reports whether a check can set limits, as an agent does.
func steers(check json.RawMessage) bool {
	var module struct {
		Check string `json:"check"`
	}
	_ = json.Unmarshal(check, &module) // errors are reported where checks are loaded
	info, err := caddy.GetModule(healthcheck.Namespace + "." + module.Check)
	if err != nil {
		return false
	}
	_, ok := info.New().(healthcheck.AgentCheck)
	return ok
}
