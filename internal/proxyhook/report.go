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
		use(b, now, &report)
	}
}

// RecordReport records a load report that a backend has sent out of band: an OrcaLoadReport in
// protobuf. It returns an error for an invalid one, which changes nothing.
func RecordReport(b *backend.Backend, metric orca.Metric, message []byte) error {
	report, err := metric.Parse(message)
	if err == nil {
		use(b, clock.Now(), &report)
	}
	return err
}

// use records a valid report. The metric alone is enough: without a rate in the report, that of
// the requests to the backend counts.
func use(b *backend.Backend, now time.Duration, report *orca.Report) {
	if report.RPS > 0 {
		b.Report(now, report.Weight(errorPenalty), 0)
	} else {
		b.Report(now, 0, report.Named)
	}
}
