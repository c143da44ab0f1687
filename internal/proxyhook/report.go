// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
)

// errorPenalty is the weight of errors relative to utilization (gRFC A58's default).
const errorPenalty = 1

// recordLoadReport records the load report in the header or the trailer of a response. An invalid
// report is ignored: it must not prevent the response. metric is that of the pool.
func recordLoadReport(b *backend.Backend, now time.Duration, metric orca.Metric, fields http.Header) {
	if report, found, err := metric.From(fields); found && err == nil {
		b.Report(now, report.Weight(errorPenalty))
	}
}

// RecordReport records a load report that a backend has sent out of band: an OrcaLoadReport in
// protobuf. It returns an error for an invalid one, which changes nothing.
func RecordReport(b *backend.Backend, metric orca.Metric, message []byte) error {
	report, err := metric.Parse(message)
	if err == nil {
		b.Report(clock.Now(), report.Weight(errorPenalty))
	}
	return err
}
