// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package poolmetrics

import (
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
)

// These exist only for backends that have had connections without HTTP.
var (
	connectionBytes = series("backend_connection_bytes_total", "Number of bytes of the TCP connections to a backend, sent to it or received from it.", "direction")
	connectTime     = series("backend_connect_seconds", "Time to connect to a backend for TCP connections, in seconds.")
	connectionTime  = series("backend_connection_duration_seconds", "Duration of the TCP connections to a backend that have ended, in seconds.")
)

// collectConnections emits the series of the connections of a backend, unless there were none.
func collectConnections(emit metrics.Emitter, b *backend.Backend, basic bool) {
	t := b.Traffic.Totals()
	if t.Begun == 0 {
		return
	}
	emit.Counter(connectionBytes, float64(t.Sent), "sent")
	emit.Counter(connectionBytes, float64(t.Received), "received")
	if !basic {
		emit.Summary(connectTime, uint64(t.Connected), t.Connecting.Seconds(), nil)
		emit.Summary(connectionTime, uint64(t.Ended), t.Open.Seconds(), nil)
	}
}
