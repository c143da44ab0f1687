// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
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
func collectHealth(ch chan<- prometheus.Metric, b *backend.Backend, checks []string) {
	now := b.Condition().State
	for _, name := range states {
		ch <- prometheus.MustNewConstMetric(state, prometheus.GaugeValue, oneIf(name == now), b.Pool, b.ID, name)
	}
	for i, v := range b.Statuses() {
		if i == len(checks) {
			return
		}
		r := v.Report()
		ch <- prometheus.MustNewConstMetric(probes, prometheus.CounterValue, float64(r.Passes), b.Pool, b.ID, checks[i], "pass")
		ch <- prometheus.MustNewConstMetric(probes, prometheus.CounterValue, float64(r.Fails), b.Pool, b.ID, checks[i], "fail")
		ch <- prometheus.MustNewConstMetric(probes, prometheus.CounterValue, float64(r.Shortages), b.Pool, b.ID, checks[i], "local")
		ch <- prometheus.MustNewConstSummary(probeTime, r.Passes+r.Fails, r.Duration.Seconds(), nil, b.Pool, b.ID, checks[i])
	}
}
