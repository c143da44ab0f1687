// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics declares Prometheus series, and emits their values when they are scraped:
// the request path only counts.
package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Series are the series of one collector. They are declared as variables of a package, and
// read-only afterwards. The zero value is ready.
type Series struct{ all []*prometheus.Desc }

// Group returns a function that declares series of one kind of thing: the prefix follows
// caddy_ballast_ in their names, and the labels, which identify the thing, come before those
// of each series.
func (s *Series) Group(prefix string, labels ...string) func(name, help string, more ...string) *prometheus.Desc {
	return func(name, help string, more ...string) *prometheus.Desc {
		d := prometheus.NewDesc("caddy_ballast_"+prefix+name, help, slices.Concat(labels, more), nil)
		s.all = append(s.all, d)
		return d
	}
}

// Collector returns a collector of the series. It calls collect for each scrape.
func (s *Series) Collector(collect func(emit Emitter)) prometheus.Collector {
	return collector{s, collect}
}

type collector struct {
	*Series
	collect func(emit Emitter)
}

// Describe implements [prometheus.Collector].
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.all {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(ch chan<- prometheus.Metric) { c.collect(Emitter{ch, nil}) }

// Emitter emits values to a scrape. The labels that its methods take are those of the series that the emitter does
// not have already.
type Emitter struct {
	ch     chan<- prometheus.Metric
	labels []string
}

// With returns an emitter with more labels: the values for the labels of its [Series.Group].
func (e Emitter) With(labels ...string) Emitter { return Emitter{e.ch, labels} }

// Counter emits a value that only grows.
func (e Emitter) Counter(d *prometheus.Desc, v float64, labels ...string) {
	e.Metric(prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, slices.Concat(e.labels, labels)...))
}

// Gauge emits a value that goes up and down.
func (e Emitter) Gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.Metric(prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, slices.Concat(e.labels, labels)...))
}

// Summary emits the number and the sum of observations, with their quantiles, if any.
func (e Emitter) Summary(d *prometheus.Desc, count uint64, sum float64, quantiles map[float64]float64, labels ...string) {
	e.Metric(prometheus.MustNewConstSummary(d, count, sum, quantiles, slices.Concat(e.labels, labels)...))
}

// OneIf returns the value of a gauge for a condition: 1 or 0.
func OneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Metric emits any metric.
func (e Emitter) Metric(m prometheus.Metric) { e.ch <- m }

// Interface guards
var _ prometheus.Collector = collector{}
