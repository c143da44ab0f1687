// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

var (
	declared metrics.Series
	series   = declared.Group("fanout_", "fanout")

	descRequests  = series("requests_total", "Number of decided fan-outs, by result.", "result")
	descRefused   = series("refused_total", "Number of requests that were refused and sent to no backend, by reason.", "reason")
	descInFlight  = series("requests_in_flight", "Number of fan-outs in progress, including detached ones.")
	descBytes     = series("body_bytes", "Size of the request bodies in memory, in bytes.")
	descTries     = series("tries_total", "Number of tries of a backend.", "backend")
	descRetries   = series("retries_total", "Number of tries of a backend that were retries.", "backend")
	descSuccesses = series("successes_total", "Number of tries that a backend accepted.", "backend")
	descFailures  = series("failures_total", "Number of tries that a backend did not accept or did not answer.", "backend")
)

// collect emits the metrics of a handler.
func collect(emit metrics.Emitter, e *handlerStats, pool *pool.Pool) {
	for v := reached; v < results; v++ {
		emit.Counter(descRequests, float64(e.ended[v].Load()), v.String())
	}
	for i, reason := range refusals {
		emit.Counter(descRefused, float64(e.refused[i].Load()), reason)
	}
	emit.Gauge(descInFlight, float64(e.inFlight.Load()))
	emit.Gauge(descBytes, float64(e.bytes.Load()))
	for _, b := range pool.View().Members.All {
		t := e.backend(b)
		// Tries are read last, so that no scrape shows more results than tries.
		successes, failures, retries := t.successes.Load(), t.failures.Load(), t.retries.Load()
		emit.Counter(descTries, float64(t.tries.Load()), b.ID)
		emit.Counter(descRetries, float64(retries), b.ID)
		emit.Counter(descSuccesses, float64(successes), b.ID)
		emit.Counter(descFailures, float64(failures), b.ID)
	}
}
