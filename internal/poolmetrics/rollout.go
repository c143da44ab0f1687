// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package poolmetrics

import (
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// collectGroups emits the series of the groups of a pool.
func collectGroups(emit metrics.Emitter, p *pool.Pool) {
	groups := p.Groups()
	if len(groups) == 0 {
		return
	}
	for i, share := range groups.Shares() {
		name, counts := group.MainName, p.Options().MainCounts
		if i != group.Main {
			name, counts = groups[i-1].Name, &groups[i-1].Rollout.Counts
		}
		attempts, errors := counts.Attempts()
		emit.Gauge(groupShare, share, name)
		emit.Counter(groupRequests, float64(attempts), name)
		emit.Counter(groupErrors, float64(errors), name)
	}
	for _, g := range groups {
		now := g.Rollout.Report(clock.Now()).State
		for _, s := range rollout.Stages() {
			emit.Gauge(rolloutState, metrics.OneIf(s == now), g.Name, string(s))
		}
		emit.Counter(rolloutAborts, float64(g.Rollout.Aborts()), g.Name)
	}
}
