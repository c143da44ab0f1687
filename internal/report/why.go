// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// avoidedAbove is the share of failures, as policies see it, from which a backend is said to be avoided.
const avoidedAbove = 0.2

// whyLittle returns why a backend gets no requests, or fewer than its weight suggests; empty if its state explains
// that, or nothing does.
func whyLittle(p *pool.Pool, b *backend.Backend, state string) string {
	in := p.GroupOf(b)
	switch _, _, limited := b.FleetLimit(); {
	case in == group.Unknown:
		return "the pool has no group " + b.Group
	case state == backend.StateEjected:
		return ""
	case state == backend.StateTrial:
		return "it waits for a request, which is its trial"
	case state != backend.StateUp, b.Unused():
		return ""
	case b.EffectiveWeight() <= 0:
		return "its weight is 0"
	case b.Full() && limited && b.Limit() == 0:
		return "this instance has no share of the fleet's limit"
	case b.Full():
		return fmt.Sprintf("it is full: %d of %d requests", b.Taken(), b.Limit())
	}
	if text := cmp.Or(whyGroup(p.Groups(), in), whyTier(p.View().Of(in), b)); text != "" {
		return text
	}
	if share := b.Failing(); share >= avoidedAbove {
		return fmt.Sprintf("%.0f %% of its latest attempts failed; most policies prefer others", 100*share)
	}
	if f := b.Factors().SlowStart; f < 1 {
		return fmt.Sprintf("it is in slow start, at %.0f %% of its weight", 100*f)
	}
	return ""
}

// whyGroup returns why a group, by its index, gets no requests; empty if it gets some.
func whyGroup(groups group.List, in int) string {
	switch share := groups.Shares()[in]; {
	case share > 0:
		return ""
	case in == group.Main:
		return "the other groups get all requests"
	case !groups[in-1].Rollout.Open():
		return "the rollout of its group is aborted"
	case groups[in-1].Match == nil:
		return "its group has no share of the requests"
	}
	return ""
}

// whyTier returns why the tier of a backend gets no requests; empty if it gets some.
func whyTier(view *pool.View, b *backend.Backend) string {
	before := 0.0
	for _, t := range view.Tiers {
		if t.Level() == tiers.LevelOf(b) {
			switch {
			case t.Share > before:
				return ""
			case b.Backup:
				return "it is a backup, which serves only when no other backend can"
			case before > 0:
				return fmt.Sprintf("it is in tier %d: lower tiers take all requests", b.Tier)
			}
			return ""
		}
		before = t.Share
	}
	return ""
}
