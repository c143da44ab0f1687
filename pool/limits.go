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
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// Queue is how requests wait while all backends are full.
type Queue struct {
	// Size is how many may wait, from 1 to 1000000. Those that find it full get a
	// 503.
	Size int `json:"size,omitempty"`
	// Timeout is for how long a request waits before it gets a 503. Default: 1s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

const (
	maxQueue            = 1_000_000
	defaultQueueTimeout = time.Second
)

// rules returns how requests wait, or what is wrong.
func (q *Queue) rules() (rules backend.QueueRules, err error) {
	switch {
	case q == nil:
		return rules, nil
	case q.Size < 1 || q.Size > maxQueue:
		return rules, fmt.Errorf("queue must have a size from 1 to %d, got %d", maxQueue, q.Size)
	}
	if err := caddyfileutil.CheckDuration("queue's timeout", q.Timeout); err != nil {
		return rules, err
	}
	rules = backend.QueueRules{Size: q.Size, Timeout: time.Duration(q.Timeout)}
	if q.Timeout == 0 {
		rules.Timeout = defaultQueueTimeout
	}
	return rules, nil
}

// RetryBudget bounds retries.
type RetryBudget struct {
	// Ratio is how many retries there may be for each request, from 0 to 1, over
	// the last 10s.
	Ratio float64 `json:"ratio,omitempty"`
	// Min is how many retries a second there may be in any case, so that a pool with
	// few requests may retry them. Default: 10.
	Min *int `json:"min,omitempty"`
}

const (
	maxRetries        = 1_000_000
	defaultMinRetries = 10
)

// rules returns how retries are bound, or what is wrong.
func (b *RetryBudget) rules() (*retry.Rules, error) {
	if b == nil {
		return nil, nil
	}
	rules := &retry.Rules{Ratio: b.Ratio, Min: defaultMinRetries}
	if b.Min != nil {
		rules.Min = *b.Min
	}
	switch {
	case !(b.Ratio >= 0 && b.Ratio <= 1):
		return nil, fmt.Errorf("retry_budget must have a ratio from 0 to 1, got %v", b.Ratio)
	case rules.Min < 0 || rules.Min > maxRetries:
		return nil, fmt.Errorf("retry_budget must have a min from 0 to %d, got %d", maxRetries, rules.Min)
	}
	return rules, nil
}

// checkLimits refuses a queue in which nobody would ever wait.
func (c *Config) checkLimits(members []backend.Settings) error {
	limited := func(s backend.Settings) bool { return s.MaxRequests > 0 }
	if c.Queue == nil || c.MaxRequests > 0 || slices.ContainsFunc(members, limited) || slices.ContainsFunc(c.HealthRaw, steers) {
		return nil
	}
	return errors.New("queue has nothing to wait for, since no backend is ever full; write `max_requests <n>` in the pool or in a `backend`")
}

// steers reports whether a check may bound requests.
func steers(check json.RawMessage) bool {
	var of struct {
		Check string `json:"check"`
	}
	_ = json.Unmarshal(check, &of) // what is wrong is said where checks are loaded
	info, err := caddy.GetModule(healthcheck.Namespace + "." + of.Check)
	if err != nil {
		return false
	}
	_, ok := info.New().(healthcheck.AgentCheck)
	return ok
}
