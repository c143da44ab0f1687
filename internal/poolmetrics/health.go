// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package poolmetrics

import (
	"fmt"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

var states = []string{
	backend.StateUp, backend.StateDown, backend.StateEjected, backend.StateTrial, backend.StateDrain, backend.StateMaint,
}

// checkNames returns the names of a pool's health checks for labels. The second and later checks
// of a kind have a number.
func checkNames(p *pool.Pool) (labels []string) {
	m := p.Manager()
	if m == nil {
		return nil
	}
	for _, name := range m.Checks() {
		label := name
		for n := 2; slices.Contains(labels, label); n++ {
			label = fmt.Sprint(name, "-", n)
		}
		labels = append(labels, label)
	}
	return labels
}

// collectHealth emits the state of a backend, and the counters of its health checks.
func collectHealth(emit metrics.Emitter, b *backend.Backend, checks []string) {
	now := b.Condition().State
	for _, name := range states {
		emit.Gauge(state, metrics.OneIf(name == now), name)
	}
	for i, v := range b.Statuses() {
		if i == len(checks) {
			return
		}
		r := v.Report()
		emit.Counter(probes, float64(r.Passes), checks[i], "pass")
		emit.Counter(probes, float64(r.Fails), checks[i], "fail")
		emit.Counter(probes, float64(r.Shortages), checks[i], "local")
		emit.Summary(probeTime, r.Passes+r.Fails, r.Duration.Seconds(), nil, checks[i])
	}
}
