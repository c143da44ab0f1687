// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/persist"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// rolloutKey identifies the rollout of a group by the names of the pool and the group. mainKey
// identifies the counts of the main group.
type (
	rolloutKey struct{ pool, group string }
	mainKey    struct{ pool string }
)

// loadGroups adds the groups to the options of the pool, with the rollouts of earlier configurations.
func (p *Pool) loadGroups(ctx caddy.Context, cfg *Config, rules *pool.Options) error {
	if len(cfg.Groups) == 0 {
		return nil
	}
	now := clock.Now()
	rules.MainCounts = shared.LoadOrNew(&p.refs, mainKey{p.Name}, func() *rollout.Counts { return new(rollout.Counts) })
	for _, g := range cfg.Groups {
		one, err := g.load(ctx)
		if err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
		one.Rollout = shared.LoadOrNew(&p.refs, rolloutKey{p.Name, g.Name}, func() *rollout.Rollout {
			return rollout.New(one.Plan, rules.MainCounts, p.app.saved.Rollout(p.Name, g.Name), now)
		})
		rules.Groups = append(rules.Groups, one)
		if g.Fallback && rules.Fallback == nil {
			from := retry.RetryPolicy{Methods: retryMethods}
			if rules.Retry != nil {
				from = *rules.Retry
			}
			rules.Fallback = retry.FallbackFrom(from)
		}
	}
	return nil
}

// load returns the group without its rollout.
func (g *GroupConfig) load(ctx caddy.Context) (one *group.Group, err error) {
	one = &group.Group{Name: g.Name, Fallback: g.Fallback}
	if one.Plan, err = g.plan(); err != nil {
		return nil, err
	}
	if one.Key, err = g.key(); err != nil {
		return nil, err
	}
	if len(g.WhenRaw) > 0 {
		one.Match, err = loadMatchers(ctx, g, "WhenRaw", "when")
	}
	return one, err
}

// advanceRollouts judges the groups, and takes the steps that are due. It reports whether a rollout has changed.
func (w *controlLoop) advanceRollouts(p *Pool, now time.Duration) (changed bool) {
	for i, g := range p.Groups() {
		fleet, serves := p.overlay.inFleet(), slices.ContainsFunc(p.View().Of(i+1).Tiers, func(t tiers.Tier) bool {
			return slices.ContainsFunc(t.Backends, func(b *backend.Backend) bool { return !b.Suppressed() })
		})
		var c rollout.Change
		var reason string
		action := replicatedRollout{Action: rollout.Abort, By: byTest, Instance: fleet.instance()}
		fleet.act(g, &action, func() (acted bool) {
			c, reason = g.Rollout.Advance(now, serves, p.app.Fleet().Instances().Len())
			action.Reason = reason
			return c == rollout.Failed
		})
		changed = changed || c != rollout.Unchanged
		switch c {
		case rollout.Stepped:
			p.emit(nil, false, "the rollout has taken a step", "rollout_step", "", dataOf(g)...)
		case rollout.Finished:
			p.emit(nil, false, "the rollout is promoted", "rollout_promoted", "it was the last step", dataOf(g, "by", "steps")...)
		case rollout.Waiting:
			p.emit(nil, false, "the next step of the rollout waits", "rollout_waiting", reason, dataOf(g)...)
		case rollout.Failed:
			p.announceAction(g, &action)
		}
	}
	return changed
}

// adoptPlans sets the plans of the rollouts to those of the configuration.
func (p *Pool) adoptPlans() {
	for _, g := range p.Groups() {
		if p.overlay.inFleet().adopt(g, clock.Now()) {
			p.emit(nil, false, "the rollout begins anew, since its shares have changed", "rollout_restarted", "", dataOf(g)...)
		}
	}
}

// dataOf returns the data of an event of a rollout.
func dataOf(g *group.Group, more ...string) []string {
	return append([]string{"group", g.Name, "share", percentOf(g.Rollout.Share())}, more...)
}

func percentOf(share float64) string { return fmt.Sprintf("%.4g%%", 100*share) }

// nextRollout returns the time until the next step of any group is due; ok is false if there is none.
func nextRollout(p *Pool, now time.Duration) (rest time.Duration, ok bool) {
	for _, g := range p.Groups() {
		if d, due := g.Rollout.Next(now); due && (!ok || d < rest) {
			rest, ok = d, true
		}
	}
	return rest, ok
}

// Rollout implements [membership.Manager].
func (p *Pool) Rollout(name string, a rollout.Action, who string) error {
	p = p.acting()
	g := p.Groups().Find(name)
	if g == nil {
		return fmt.Errorf("%w: %q", membership.ErrNoGroup, name)
	}
	action := replicatedRollout{Action: a, By: membership.Added, Who: who, Instance: p.overlay.inFleet().instance()}
	if a == rollout.Abort {
		action.Reason = "an operator has aborted it"
	}
	changed, err := false, error(nil)
	p.overlay.inFleet().act(g, &action, func() (acted bool) {
		changed, err = g.Rollout.Act(a, action.Reason, clock.Now())
		return changed
	})
	if err != nil || !changed {
		return err
	}
	p.announceAction(g, &action)
	return p.flush()
}

// rolloutRecords returns the records of the rollouts, for the storage.
func (p *Pool) rolloutRecords() (all []persist.RolloutRecord) {
	for _, g := range p.Groups() {
		all = append(all, persist.RolloutRecord{Pool: p.Name, Group: g.Name, Record: g.Rollout.Record()})
	}
	return all
}
