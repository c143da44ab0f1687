// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package poolmetrics

import (
	"strconv"

	"github.com/ballast-lb/caddy-ballast/internal/metrics"
	"github.com/ballast-lb/caddy-ballast/internal/mirror"
)

// These exist only with a mirror.
var (
	mirrorSeries = declared.Group("mirror_", "pool")

	copiesInFlight = mirrorSeries("in_flight", "Number of copies of requests in flight to a mirror, or being made.")
	copiesSent     = mirrorSeries("requests_total", "Number of copies of requests sent to a mirror, by result.", "result")
	copiesDropped  = mirrorSeries("dropped_total", "Number of requests that were to be mirrored and were not, by cause.", "cause")
	copyResponses  = mirrorSeries("responses_total", "Number of responses of a mirror, by status class.", "class")
	compared       = mirrorSeries("compared_total", "Number of responses of a mirror whose status is the same as that of the request, or different.", "status")
	copyTime       = mirrorSeries("first_byte_seconds", "Time to the response header of the copies that were compared, in seconds.")
	mainTime       = mirrorSeries("main_first_byte_seconds", "Time to the response header of the requests of these copies, in seconds.")
)

// collectMirror emits the series of the mirror of a pool.
func collectMirror(emit metrics.Emitter, t mirror.CopyTotals) {
	emit.Gauge(copiesInFlight, float64(t.InFlight))
	for result, n := range t.Results {
		emit.Counter(copiesSent, float64(n), string(result))
	}
	for cause, n := range t.Dropped {
		emit.Counter(copiesDropped, float64(n), string(cause))
	}
	for class := 1; class < len(t.Classes); class++ {
		emit.Counter(copyResponses, float64(t.Classes[class]), strconv.Itoa(class)+"xx")
	}
	emit.Counter(compared, float64(t.Same), "same")
	emit.Counter(compared, float64(t.Different), "different")
	n := uint64(t.Same + t.Different)
	emit.Summary(copyTime, n, t.Copy.Seconds(), nil)
	emit.Summary(mainTime, n, t.Main.Seconds(), nil)
}
