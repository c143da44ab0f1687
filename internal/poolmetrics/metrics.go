// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package poolmetrics exposes the counters of backends and pools to Prometheus. The collector reads
// them when metrics are scraped; requests do no extra work. The series of a backend end with it.
package poolmetrics

import (
	"cmp"
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

var (
	declared   metrics.Series
	series     = declared.Group("", "pool", "backend")
	poolSeries = declared.Group("pool_", "pool")

	up             = series("backend_up", "Whether the health checks of a backend are up (1) or not (0).")
	weight         = series("backend_weight", "Effective weight of a backend.")
	inFlight       = series("backend_requests_in_flight", "Number of attempts in flight to a backend.")
	requests       = series("backend_requests_total", "Number of attempts on a backend.")
	retries        = series("backend_retries_total", "Number of attempts on a backend that were retries.")
	resends        = series("backend_resends_total", "Number of requests sent again within an attempt, because a backend had closed the connection.")
	responses      = series("backend_responses_total", "Number of responses of a backend, by status class.", "class")
	failures       = series("backend_failures_total", "Number of attempts without a complete response of a backend, by kind of failure.", "failure")
	clientGone     = series("backend_client_gone_total", "Number of attempts on a backend that the client abandoned.")
	firstByte      = series("backend_first_byte_seconds", "Time to the response header of a backend, in seconds.")
	bodyByte       = series("backend_first_body_byte_seconds", "Time to the first byte of the response body of a backend, in seconds.")
	lastByte       = series("backend_last_byte_seconds", "Time to the end of the response body of a backend, in seconds.")
	latencySeconds = series("backend_latency_seconds", "Histogram of the time to the response header of a backend, in seconds.")
	transitions    = series("backend_transitions_total", "Number of times that a backend went down or came up.")

	factors   = series("backend_weight_factor", "Factor of the effective weight of a backend.", "factor")
	ejected   = series("backend_ejected", "Whether a backend is ejected or half-open (1) or not (0).")
	ejections = series("backend_ejections_total", "Number of ejections of a backend.")
	held      = series("backend_held", "Whether the guard holds a backend up despite a failing check (1) or not (0).")
	panics    = poolSeries("panic", "Whether a pool is in panic mode and ignores health (1) or not (0).")
	refused   = poolSeries("refused_total", "Number of requests that got no backend, by reason.", "reason")

	// It exists only with locality.
	homeRatio = poolSeries("home_ratio", "Share of the requests of a tier that stay in the zone of this instance.", "tier", "group")

	// These exist only with groups.
	groupShare    = poolSeries("group_share", "Share of the requests of a group of a pool.", "group")
	groupRequests = poolSeries("group_requests_total", "Number of attempts on a group of a pool.", "group")
	groupErrors   = poolSeries("group_errors_total", "Number of attempts on a group of a pool with a status of 500 or more, or without an answer.", "group")
	rolloutState  = poolSeries("rollout_state", "Whether the rollout of a group is in the state (1) or not (0).", "group", "state")
	rolloutAborts = poolSeries("rollout_aborts_total", "Number of times that the rollout of a group was aborted.", "group")

	// It exists only in a fleet.
	isolated = poolSeries("fleet_isolated", "Whether this instance sees most backends of a pool down while most other instances do not (1) or not (0).")

	// It exists only with a policy for further attempts.
	poolRetries = poolSeries("retries_total", "Number of further attempts of a pool's retry and hedge, by trigger and result.", "trigger", "result")

	state     = series("backend_state", "Whether a backend is in the state (1) or not (0).", "state")
	probes    = series("backend_probes_total", "Number of probes of a backend, by health check and result: pass, fail, or local if the probe could not be made.", "check", "result")
	probeTime = series("backend_probe_seconds", "Duration of the probes that passed or failed, in seconds.", "check")

	// These exist only where there are limits.
	maxRequests = series("backend_max_requests", "Maximum number of requests in flight to a backend.")
	fleetLimit  = series("backend_fleet_max_requests", "Maximum number of requests in flight to a backend from all instances of the fleet together.")
	queueLength = poolSeries("queue_length", "Number of requests waiting for a backend.")
	queued      = poolSeries("queued_total", "Number of requests that entered the queue of a pool.")
	queueWait   = poolSeries("queue_wait_seconds", "Time that requests waited for a backend, whether they got one or not, in seconds.")
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
	emit.Gauge(panics, metrics.OneIf(len(p.InPanic()) > 0))
	for _, s := range p.HomeShares() {
		name := s.Group
		if len(p.Groups()) > 0 {
			name = cmp.Or(name, group.MainName)
		}
		emit.Gauge(homeRatio, s.Home, s.String(), name)
	}
	if m := p.Manager(); m != nil && p.Fleet() != nil && !p.Unnamed {
		emit.Gauge(isolated, metrics.OneIf(m.Isolated()))
	}
	collectGroups(emit, p)
	t := p.Totals()
	for c := retry.Connect; c < retry.Triggers; c++ {
		if c == retry.Hedge && p.HedgePolicy() != nil || c != retry.Hedge && (p.RetryPolicy() != nil || p.FallbackPolicy() != nil) {
			for _, o := range retry.Results {
				emit.Counter(poolRetries, float64(p.RetryCounters().Count(c, o)), c.String(), string(o))
			}
		}
	}
	if p.Options().Queue.Size > 0 {
		emit.Gauge(queueLength, float64(t.Waiting))
		emit.Counter(queued, float64(t.Queued))
		emit.Summary(queueWait, uint64(t.Waits), t.Waited.Seconds(), nil)
	}
	if p.Mirror() != nil {
		collectMirror(emit, p.MirrorCounters().Totals())
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
	collectConnections(emit, b, basic)
	if b.Limited() {
		emit.Gauge(maxRequests, float64(b.Limit()))
	}
	if n, _, ok := b.FleetLimit(); ok {
		emit.Gauge(fleetLimit, float64(n))
	}
}

// collectBasic emits the basic series of a backend: its availability, and the outcomes of
// requests.
func collectBasic(emit metrics.Emitter, b *backend.Backend, t *backend.Totals) {
	emit.Gauge(up, metrics.OneIf(b.Up()))
	emit.Gauge(ejected, metrics.OneIf(b.EjectionState() != outlier.Healthy))
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
	emit.Gauge(held, metrics.OneIf(b.Suppressed()))
	for name, factor := range map[string]float64{
		"configured": f.Configured, "operator": f.Operator, "agent": f.Agent, "reported": f.Reported, "slow_start": f.SlowStart,
	} {
		emit.Gauge(factors, factor, name)
	}
	emit.Counter(retries, float64(t.Retries))
	emit.Counter(resends, float64(t.Resends))
	emit.Counter(clientGone, float64(t.ClientGone))
	emit.Counter(transitions, float64(b.Outages.Transitions()))
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
	emit.Summary(bodyByte, uint64(t.Bodies), t.BodyByte.Seconds(), nil)
	emit.Summary(lastByte, complete, t.LastByte.Seconds(), nil)
}
