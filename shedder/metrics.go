// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

var (
	declared metrics.Series
	series   = declared.Group("shed_", "shed")

	descAdmitted = series("admitted_total", "Number of admitted requests, queued ones included.", "level")
	descQueued   = series("queued_total", "Number of requests that were queued and then admitted.", "level")
	descRefused  = series("refused_total", "Number of requests that were refused or, in shadow mode, would have been refused.", "level", "reason")
	descInFlight = series("requests_in_flight", "Number of admitted requests in flight.")
	descWaiting  = series("queue_length", "Number of requests waiting in the queue.")
	descLimit    = series("limit", "Maximum number of requests in flight.")
	descFleet    = series("fleet_limit", "Maximum number of requests in flight on all instances of the fleet together.")
	descBase     = series("base_seconds", "Measured latency without load, in seconds.")
	descDecided  = series("decisions_total", "Number of decisions on the limit, by reason.", "reason")
	descKeys     = series("keys", "Number of keys with a limiter of their own.")
)

// collect emits the metrics of a handler.
func collect(emit metrics.Emitter, g *gateSet, _ struct{}) {
	t := g.counts.Totals()
	for l := range t.Admitted {
		level := admission.Level(l)
		emit.Counter(descAdmitted, float64(t.Admitted[l]), level.String())
		emit.Counter(descQueued, float64(t.Queued[l]), level.String())
		for cause, n := range t.Refused[level] {
			emit.Counter(descRefused, float64(n), level.String(), string(cause))
		}
	}
	if g.limit > 0 {
		emit.Gauge(descFleet, float64(g.limit))
	}
	if g.keys != nil {
		keys, inFlight, waiting := g.keys.total()
		emit.Gauge(descKeys, float64(keys))
		emit.Gauge(descInFlight, float64(inFlight))
		emit.Gauge(descWaiting, float64(waiting))
		return
	}
	emit.Gauge(descInFlight, float64(g.one.InFlight()))
	emit.Gauge(descWaiting, float64(g.one.Waiting()))
	emit.Gauge(descLimit, float64(g.one.Limit()))
	if g.one.Learns() {
		if g.one.MeasuresBase() {
			state, _ := g.one.State()
			emit.Gauge(descBase, state.Base.Seconds())
		}
		for reason, n := range t.Decided {
			emit.Counter(descDecided, float64(n), string(reason))
		}
	}
}
