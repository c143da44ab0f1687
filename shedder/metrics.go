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

	descAdmitted = series("admitted_total", "Requests that were let in, after waiting or not.", "level")
	descQueued   = series("queued_total", "Requests that waited and were let in.", "level")
	descRefused  = series("refused_total", "Requests that were refused or, in shadow mode, would have been.", "level", "reason")
	descInFlight = series("requests_in_flight", "Requests that were let in and count as in flight.")
	descWaiting  = series("queue_length", "Requests that wait.")
	descLimit    = series("limit", "How many requests may be in flight.")
	descBase     = series("base_seconds", "How long an answer takes without load, as far as is known.")
	descDecided  = series("decisions_total", "Decisions on the limit, by reason.", "reason")
	descKeys     = series("keys", "Keys that have a limiter of their own.")
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
