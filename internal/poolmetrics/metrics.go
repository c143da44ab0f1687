// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package poolmetrics exposes the counters of backends and pools to Prometheus. The collector reads
// them when metrics are scraped; requests do no extra work. The series of a backend end with it.
package poolmetrics

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

var (
	declared   metrics.Series
	series     = declared.Group("", "pool", "backend")
	poolSeries = declared.Group("pool_", "pool")

	up             = series("backend_up", "Whether the health checks of a backend pass: 1 or 0.")
	weight         = series("backend_weight", "The effective weight of a backend.")
	inFlight       = series("backend_requests_in_flight", "Attempts on a backend that have not ended.")
	requests       = series("backend_requests_total", "Attempts made on a backend.")
	retries        = series("backend_retries_total", "Attempts made on a backend that were not the first of their request.")
	responses      = series("backend_responses_total", "Responses of a backend, by class of status.", "class")
	failures       = series("backend_failures_total", "Attempts that got no complete response from a backend, by why.", "failure")
	clientGone     = series("backend_client_gone_total", "Attempts that the client abandoned.")
	firstByte      = series("backend_first_byte_seconds", "Time until the header of a response.")
	lastByte       = series("backend_last_byte_seconds", "Time until the end of a response.")
	latencySeconds = series("backend_latency_seconds", "Time until the header of a response, as a histogram.")
	transitions    = series("backend_transitions_total", "Times that a backend went down or came up.")

	factors   = series("backend_weight_factor", "What the effective weight of a backend is the product of.", "factor")
	ejected   = series("backend_ejected", "Whether a backend is ejected, or on trial afterwards: 1 or 0.")
	ejections = series("backend_ejections_total", "Times that a backend was ejected.")
	held      = series("backend_held", "Whether a backend counts as up though it fails a check: 1 or 0.")
	panics    = poolSeries("panic", "Whether a pool ignores health: 1 or 0.")
	refused   = poolSeries("refused_total", "Requests that got no backend, by why.", "reason")

	state     = series("backend_state", "Whether a backend is in a state: 1 or 0.", "state")
	probes    = series("backend_probes_total", "Probes of a backend, by health check and result: pass, fail, or local if it could not be made.", "check", "result")
	probeTime = series("backend_probe_seconds", "Time that probes took that passed or failed.", "check")

	// These exist only where there are limits.
	maxRequests = series("backend_max_requests", "The most requests that a backend may have in flight.")
	queueLength = poolSeries("queue_length", "Requests that wait for a backend.")
	queued      = poolSeries("queued_total", "Requests that have begun to wait for a backend.")
	queueWait   = poolSeries("queue_wait_seconds", "Time that requests have waited for a backend, whether they got one or not.")
)

// shown are the quantiles of the time to the header, over the last 30 to 60 seconds.
var shown = []float64{0.5, 0.95, 0.99}

// collector reads the active pools.
var collector = declared.Collector(func(emit metrics.Emitter) {
	for _, p := range pool.Pools() {
		collectPool(emit.With(p.Name), p)
		checks := checkNames(p)
		for _, b := range p.View().Members.All {
			collectBackend(emit.With(b.Pool, b.ID), b, checks, p.BasicMetrics)
		}
	}
})

// Register adds the collector to a configuration's registry. The counters belong to the backends,
// so they continue over a reload.
func Register(registry *prometheus.Registry) error { return registry.Register(collector) }

// collectPool emits the series of a pool.
func collectPool(emit metrics.Emitter, p *pool.Pool) {
	emit.Gauge(panics, oneIf(p.View().Panic))
	t := p.Totals()
	if p.Options().Queue.Size > 0 {
		emit.Gauge(queueLength, float64(t.Waiting))
		emit.Counter(queued, float64(t.Queued))
		emit.Summary(queueWait, uint64(t.Waits), t.Waited.Seconds(), nil)
	}
	for reason, n := range t.Refused {
		emit.Counter(refused, float64(n), string(reason))
	}
}

// collectBackend emits the series of a backend.
func collectBackend(emit metrics.Emitter, b *backend.Backend, checks []string, basic bool) {
	t := b.Totals()
	collectBasic(emit, b, &t)
	if !basic {
		collectFull(emit, b, &t)
		collectHealth(emit, b, checks)
	}
	if n := b.Limit(); n > 0 {
		emit.Gauge(maxRequests, float64(n))
	}
}

// collectBasic emits the basic series of a backend: its availability, and the outcomes of
// requests.
func collectBasic(emit metrics.Emitter, b *backend.Backend, t *backend.Totals) {
	emit.Gauge(up, oneIf(b.Up()))
	emit.Gauge(ejected, oneIf(b.EjectionState() != outlier.Healthy))
	emit.Counter(ejections, float64(b.Ejections()))
	emit.Gauge(weight, b.Factors().Weight())
	emit.Gauge(inFlight, float64(b.InFlight()))
	emit.Counter(requests, float64(t.Requests))
	for failure, n := range t.Failures {
		emit.Counter(failures, float64(n), failure.String())
	}
	for class := 1; class < len(t.Responses); class++ {
		emit.Counter(responses, float64(t.Responses[class]), strconv.Itoa(class)+"xx")
	}
}

// collectFull emits the other series of a backend: the factors of its weight, and its latency.
func collectFull(emit metrics.Emitter, b *backend.Backend, t *backend.Totals) {
	f := b.Factors()
	emit.Gauge(held, oneIf(b.Suppressed()))
	for name, factor := range map[string]float64{
		"configured": f.Configured, "operator": f.Operator, "agent": f.Agent, "reported": f.Reported, "slow_start": f.SlowStart,
	} {
		emit.Gauge(factors, factor, name)
	}
	emit.Counter(retries, float64(t.Retries))
	emit.Counter(clientGone, float64(t.ClientGone))
	emit.Counter(transitions, float64(b.Transitions()))
	complete := uint64(0)
	for _, n := range t.Responses[1:] {
		complete += uint64(n)
	}
	quantiles := make(map[float64]float64)
	for i, d := range b.Histogram.Quantiles(clock.Now(), shown...) {
		quantiles[shown[i]] = d.Seconds()
		if d == 0 { // Prometheus' value for no observations
			quantiles[shown[i]] = math.NaN()
		}
	}
	emit.Metric(newHistogram(b, t.FirstByte.Seconds()))
	emit.Summary(firstByte, uint64(t.Answered), t.FirstByte.Seconds(), quantiles)
	emit.Summary(lastByte, complete, t.LastByte.Seconds(), nil)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
