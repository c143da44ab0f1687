// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics exposes the counters of backends and pools to Prometheus. The collector reads
// them when metrics are scraped; requests do no extra work. The series of a backend end with it.
package metrics

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// series describes a series that each backend has.
func series(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_ballast_"+name, help, append([]string{"pool", "backend"}, labels...), nil)
}

// poolSeries describes a series that each pool has.
func poolSeries(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_ballast_pool_"+name, help, append([]string{"pool"}, labels...), nil)
}

var (
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

	all = []*prometheus.Desc{maxRequests, queueLength, queued, queueWait, refused, factors, ejected, ejections, held, panics, up, weight, inFlight, requests, retries, responses, failures, clientGone, firstByte, lastByte, latencySeconds, transitions, state, probes, probeTime}
)

// shown are the quantiles of the time to the header, over the last 30 to 60 seconds.
var shown = []float64{0.5, 0.95, 0.99}

// collector reads the active pools.
type collector struct{}

// Register adds the collector to a configuration's registry. The counters belong to the backends,
// so they continue over a reload.
func Register(registry *prometheus.Registry) error { return registry.Register(collector{}) }

// Describe implements [prometheus.Collector].
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (collector) Collect(ch chan<- prometheus.Metric) {
	for _, p := range pool.Pools() {
		ch <- prometheus.MustNewConstMetric(panics, prometheus.GaugeValue, oneIf(p.View().Panic), p.Name)
		checks := checkNames(p)
		for _, b := range p.View().Members.All {
			t := b.Totals()
			collectBasic(ch, b, &t)
			if !p.BasicMetrics {
				collectFull(ch, b, &t)
				collectHealth(ch, b, checks)
			}
			if n := b.Limit(); n > 0 {
				ch <- prometheus.MustNewConstMetric(maxRequests, prometheus.GaugeValue, float64(n), b.Pool, b.ID)
			}
		}
		collectPoolTotals(ch, p)
	}
}

// collectPoolTotals emits the counters of a pool.
func collectPoolTotals(ch chan<- prometheus.Metric, p *pool.Pool) {
	t := p.Totals()
	if p.Options().Queue.Size > 0 {
		ch <- prometheus.MustNewConstMetric(queueLength, prometheus.GaugeValue, float64(t.Waiting), p.Name)
		ch <- prometheus.MustNewConstMetric(queued, prometheus.CounterValue, float64(t.Queued), p.Name)
		ch <- prometheus.MustNewConstSummary(queueWait, uint64(t.Waits), t.Waited.Seconds(), nil, p.Name)
	}
	for reason, n := range t.Refused {
		ch <- prometheus.MustNewConstMetric(refused, prometheus.CounterValue, float64(n), p.Name, string(reason))
	}
}

// emitter returns a function that emits a series of a backend.
func emitter(ch chan<- prometheus.Metric, b *backend.Backend) func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
	return func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{b.Pool, b.ID}, labels...)...)
	}
}

// collectBasic emits the basic series of a backend: its availability, and the outcomes of
// requests.
func collectBasic(ch chan<- prometheus.Metric, b *backend.Backend, t *backend.Totals) {
	emit := emitter(ch, b)
	emit(up, prometheus.GaugeValue, oneIf(b.Up()))
	emit(ejected, prometheus.GaugeValue, oneIf(b.EjectionState() != outlier.Healthy))
	emit(ejections, prometheus.CounterValue, float64(b.Ejections()))
	emit(weight, prometheus.GaugeValue, b.Factors().Weight())
	emit(inFlight, prometheus.GaugeValue, float64(b.InFlight()))
	emit(requests, prometheus.CounterValue, float64(t.Requests))
	for failure, n := range t.Failures {
		emit(failures, prometheus.CounterValue, float64(n), failure.String())
	}
	for class := 1; class < len(t.Responses); class++ {
		emit(responses, prometheus.CounterValue, float64(t.Responses[class]), strconv.Itoa(class)+"xx")
	}
}

// collectFull emits the other series of a backend: the factors of its weight, and its latency.
func collectFull(ch chan<- prometheus.Metric, b *backend.Backend, t *backend.Totals) {
	emit, f := emitter(ch, b), b.Factors()
	emit(held, prometheus.GaugeValue, oneIf(b.Suppressed()))
	for name, factor := range map[string]float64{
		"configured": f.Configured, "operator": f.Operator, "agent": f.Agent, "reported": f.Reported, "slow_start": f.SlowStart,
	} {
		emit(factors, prometheus.GaugeValue, factor, name)
	}
	emit(retries, prometheus.CounterValue, float64(t.Retries))
	emit(clientGone, prometheus.CounterValue, float64(t.ClientGone))
	emit(transitions, prometheus.CounterValue, float64(b.Transitions()))
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
	ch <- newHistogram(b, t.FirstByte.Seconds())
	ch <- prometheus.MustNewConstSummary(firstByte, uint64(t.Answered), t.FirstByte.Seconds(), quantiles, b.Pool, b.ID)
	ch <- prometheus.MustNewConstSummary(lastByte, complete, t.LastByte.Seconds(), nil, b.Pool, b.ID)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
