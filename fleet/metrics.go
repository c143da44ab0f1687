// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"iter"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/instances"
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
)

var declared metrics.Series

var fleetSeries = declared.Group("fleet_")

var (
	seriesStoreUp   = fleetSeries("store_up", "Whether the latest calls of the fleet's store have succeeded: 1 or 0.")
	seriesInstances = fleetSeries("instances", "Living instances of the fleet, as this one knows them.")
	seriesSettled   = fleetSeries("shares_settled", "Whether no share of this instance waits until others have shrunk: 1 or 0.")
	seriesGen       = fleetSeries("generation", "Generation of the instances; it increases when one joins or leaves.")
	seriesPending   = fleetSeries("pending", "Changes that wait to be pushed to the store.")
	seriesLag       = fleetSeries("lag_seconds", "Age of the oldest change that waits to be pushed; 0 for none.")
	seriesStale     = fleetSeries("stale_seconds", "Time since the changes of other instances were last read, where they cannot be; else 0.")
	seriesPushed    = fleetSeries("pushed_records_total", "Records pushed to the store.")
	seriesReceived  = fleetSeries("received_records_total", "Records received from the store.")
	seriesOverflows = fleetSeries("overflows_total", "Times that too many changes waited, so that all records are compared instead.")
	seriesInvalid   = fleetSeries("invalid_records_total", "Records of this instance that were too large to be pushed.")
	seriesResyncs   = fleetSeries("resyncs_total", "Times that all records of the store were read, by cause: start, join, gap, loss or overflow.", "cause")
)

// fleets are the fleets of the loaded configurations.
var fleets = instances.NewList(&declared, collect)

func collect(emit metrics.Emitter, all iter.Seq[*fleet.Fleet]) {
	for f := range all { // the latest configuration has one
		s := f.Status()
		emit.Gauge(seriesStoreUp, metrics.OneIf(s.Store.Connected))
		emit.Gauge(seriesInstances, float64(len(s.Instances)))
		emit.Gauge(seriesSettled, metrics.OneIf(s.Settled))
		emit.Gauge(seriesGen, float64(s.Generation))
		emit.Gauge(seriesPending, float64(s.Pending))
		emit.Gauge(seriesLag, s.Lag.Seconds())
		emit.Gauge(seriesStale, s.Stale.Seconds())
		emit.Counter(seriesPushed, float64(s.Pushed))
		emit.Counter(seriesReceived, float64(s.Received))
		emit.Counter(seriesOverflows, float64(s.Overflows))
		emit.Counter(seriesInvalid, float64(s.Invalid))
		for cause, n := range s.Resyncs {
			emit.Counter(seriesResyncs, float64(n), cause)
		}
		return
	}
}
