// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// series describes one series of each handler.
func series(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_ballast_fanout_"+name, help, append([]string{"fanout"}, labels...), nil)
}

var (
	descRequests  = series("requests_total", "Fan-outs that were decided, by result.", "result")
	descRefused   = series("refused_total", "Requests that were sent to nobody, by reason.", "reason")
	descInFlight  = series("requests_in_flight", "Fan-outs that have not ended, detached ones among them.")
	descBytes     = series("body_bytes", "Bytes of bodies that are held.")
	descTries     = series("tries_total", "Tries of a backend.", "backend")
	descRetries   = series("retries_total", "Tries of a backend that were not the first for their request.", "backend")
	descSuccesses = series("successes_total", "Tries that a backend has accepted.", "backend")
	descFailures  = series("failures_total", "Tries that a backend has not accepted, or not answered.", "backend")

	allDescs = []*prometheus.Desc{descRequests, descRefused, descInFlight, descBytes, descTries, descRetries, descSuccesses, descFailures}
)

// collector reads the counters of all handlers when metrics are scraped.
type collector struct{}

// Describe implements [prometheus.Collector].
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range allDescs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (collector) Collect(ch chan<- prometheus.Metric) {
	for _, i := range registry.List() {
		i.State.collect(ch, i.Label, i.Detail)
	}
}

// collect emits the metrics of a handler.
func (e *handlerStats) collect(ch chan<- prometheus.Metric, label string, pool *pool.Pool) {
	emit := func(d *prometheus.Desc, kind prometheus.ValueType, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(v), append([]string{label}, labels...)...)
	}
	for v := reached; v < results; v++ {
		emit(descRequests, prometheus.CounterValue, e.ended[v].Load(), v.String())
	}
	for i, reason := range refusals {
		emit(descRefused, prometheus.CounterValue, e.refused[i].Load(), reason)
	}
	emit(descInFlight, prometheus.GaugeValue, e.inFlight.Load())
	emit(descBytes, prometheus.GaugeValue, e.bytes.Load())
	for _, b := range pool.View().Members.All {
		t := e.backend(b)
		// Tries are read last, so that no scrape shows more results than tries.
		successes, failures, retries := t.successes.Load(), t.failures.Load(), t.retries.Load()
		emit(descTries, prometheus.CounterValue, t.tries.Load(), b.ID)
		emit(descRetries, prometheus.CounterValue, retries, b.ID)
		emit(descSuccesses, prometheus.CounterValue, successes, b.ID)
		emit(descFailures, prometheus.CounterValue, failures, b.ID)
	}
}
