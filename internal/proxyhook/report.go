// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
)

// errorPenalty is how much errors count beside utilization (gRFC A58's default).
const errorPenalty = 1

// recordLoadReport takes what a backend says of its own load, in the header or the trailer
// of a response. A report that cannot be read counts as none: it must not keep a
// response from its client.
func recordLoadReport(b *backend.Backend, now time.Duration, fields http.Header) {
	if report, found, err := orca.From(fields); found && err == nil {
		b.Report(now, report.Weight(errorPenalty))
	}
}
