// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend/traffic"
)

// ConnectionsReport are the TCP connections that carry no HTTP, so far.
type ConnectionsReport struct {
	Open     int64   `json:"open"`                  // now
	Made     int64   `json:"made"`                  // including the open ones
	Sent     int64   `json:"sent_bytes"`            // to backends
	Received int64   `json:"received_bytes"`        // from backends
	Connect  float64 `json:"mean_connect_seconds"`  // time to connect; 0 before the first was made
	Duration float64 `json:"mean_duration_seconds"` // of those that have ended; 0 before the first has
}

// ofConnections returns nil if no connection was begun.
func ofConnections(t traffic.ConnectionTotals) *ConnectionsReport {
	if t.Begun == 0 {
		return nil
	}
	return &ConnectionsReport{
		Open: t.Connected - t.Ended, Made: t.Connected, Sent: t.Sent, Received: t.Received,
		Connect: mean(t.Connecting, t.Connected), Duration: mean(t.Open, t.Ended),
	}
}

// mean returns a mean in seconds; 0 of none.
func mean(sum time.Duration, n int64) float64 {
	if n == 0 {
		return 0
	}
	return sum.Seconds() / float64(n)
}
