// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
)

// CountRequest counts the first attempt of a request for the budgets of further ones.
func (p *Pool) CountRequest() {
	now := clock.Now()
	p.budget.Request(now)
	p.hedges.Request(now)
}

// MayRetry reports whether the retry budget allows a retry; [Pool.Retry] counts it.
func (p *Pool) MayRetry() bool { return p.budget.Left(clock.Now()) }

// Retry is as [Pool.MayRetry], and counts the retry if it is allowed.
func (p *Pool) Retry() bool { return p.budget.Retry(clock.Now()) }

// HedgePolicy returns when a late request gets a second attempt; nil for never.
func (p *Pool) HedgePolicy() *hedge.HedgePolicy { return p.options.Hedge }

// HasSpare reports whether the group of a member has capacity for second attempts. Without spare capacity they
// would worsen an overload, and delay requests that wait.
func (p *Pool) HasSpare(b *backend.Backend) bool {
	i := max(p.GroupOf(b), group.Main)
	v := p.View().Of(i)
	return !p.Saturated(i) && !v.Panic && len(v.Tiers) > 0
}

// MayHedge reports whether both budgets allow a second attempt; [Pool.Hedge] counts it.
func (p *Pool) MayHedge() bool { return p.hedges.Left(clock.Now()) && p.MayRetry() }

// Hedge is as [Pool.MayHedge], and counts the second attempt if it is allowed.
func (p *Pool) Hedge() bool {
	now := clock.Now()
	switch {
	case !p.hedges.Retry(now):
		return false
	case !p.budget.Retry(now):
		p.hedges.Undo(now)
		return false
	}
	return true
}
