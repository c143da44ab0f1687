// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// errorPenalty is the weight of errors relative to utilization (gRFC A58's default).
const errorPenalty = 1

// Record records the load report in the header or the trailer of a response. An invalid
// report is ignored: it must not prevent the response. m is the metric of the pool.
func (m Metric) Record(b *backend.Backend, now time.Duration, fields http.Header) {
	if report, found, err := m.From(fields); found && err == nil {
		use(b, now, &report)
	}
}

// RecordMessage records a load report that a backend has sent out of band: an OrcaLoadReport in
// protobuf. It returns an error for an invalid one, which changes nothing.
func (m Metric) RecordMessage(b *backend.Backend, message []byte) error {
	report, err := m.Parse(message)
	if err == nil {
		use(b, clock.Now(), &report)
	}
	return err
}

// use records a valid report. If the report has no rate, the measured rate of the requests to the backend is used.
func use(b *backend.Backend, now time.Duration, report *Report) {
	if utilization := report.Load(); utilization > 0 {
		b.RecordUtilization(now, utilization)
	}
	if report.RPS > 0 {
		b.Report(now, report.Weight(errorPenalty), 0)
	} else {
		b.Report(now, 0, report.Named)
	}
}
