// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// series describes one series of each shed handler.
func series(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_ballast_shed_"+name, help, append([]string{"shed"}, labels...), nil)
}

var (
	descAdmitted = series("admitted_total", "Requests that were let in, after waiting or not.", "level")
	descQueued   = series("queued_total", "Requests that waited and were let in.", "level")
	descRefused  = series("refused_total", "Requests that were refused or, in shadow mode, would have been.", "level", "reason")
	descInFlight = series("requests_in_flight", "Requests that were let in and count as in flight.")
	descWaiting  = series("queue_length", "Requests that wait.")
	descLimit    = series("limit", "How many requests may be in flight.")
	descBase     = series("base_seconds", "How long an answer takes without load, as far as is known.")
	descDecided  = series("decisions_total", "Decisions on the limit, by reason.", "reason")
	descKeys     = series("keys", "Keys that have a limiter of their own.")

	allDescs = []*prometheus.Desc{descAdmitted, descQueued, descRefused, descInFlight, descWaiting, descLimit, descBase, descDecided, descKeys}
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
		i.State.collect(ch, i.Label)
	}
}

// collect emits the metrics of a handler.
func (g *gateSet) collect(ch chan<- prometheus.Metric, label string) {
	emit := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{label}, labels...)...)
	}
	t := g.counts.Totals()
	for l := range t.Admitted {
		level := admission.Level(l)
		emit(descAdmitted, prometheus.CounterValue, float64(t.Admitted[l]), level.String())
		emit(descQueued, prometheus.CounterValue, float64(t.Queued[l]), level.String())
		for cause, n := range t.Refused[level] {
			emit(descRefused, prometheus.CounterValue, float64(n), level.String(), string(cause))
		}
	}
	if g.keys != nil {
		keys, inFlight, waiting := g.keys.total()
		emit(descKeys, prometheus.GaugeValue, float64(keys))
		emit(descInFlight, prometheus.GaugeValue, float64(inFlight))
		emit(descWaiting, prometheus.GaugeValue, float64(waiting))
		return
	}
	emit(descInFlight, prometheus.GaugeValue, float64(g.one.InFlight()))
	emit(descWaiting, prometheus.GaugeValue, float64(g.one.Waiting()))
	emit(descLimit, prometheus.GaugeValue, float64(g.one.Limit()))
	if g.one.Learns() {
		if g.one.MeasuresBase() {
			state, _ := g.one.State()
			emit(descBase, prometheus.GaugeValue, state.Base.Seconds())
		}
		for reason, n := range t.Decided {
			emit(descDecided, prometheus.CounterValue, float64(n), string(reason))
		}
	}
}
