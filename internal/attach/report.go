// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"net/http"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/orca"
)

// errorPenalty is how much errors count beside utilization (gRFC A58's default).
const errorPenalty = 1

// learn takes what a backend says of its own load, in the header or the trailer
// of a response. A report that cannot be read counts as none: it must not keep a
// response from its client.
func learn(b *backend.Backend, now time.Duration, fields http.Header) {
	if report, found, err := orca.From(fields); found && err == nil {
		b.Report(now, report.Weight(errorPenalty))
	}
}

// grpcError returns the HTTP status that a gRPC status in the header or trailer
// of a response amounts to if the backend is to blame for it, else 0.
func grpcError(fields http.Header) int {
	switch status := fields["Grpc-Status"]; {
	case len(status) == 0:
	case status[0] == "14": // UNAVAILABLE
		return http.StatusServiceUnavailable
	case status[0] == "4": // DEADLINE_EXCEEDED
		return http.StatusGatewayTimeout
	}
	return 0
}

// grpcType begins the media types of gRPC, which have no case.
const grpcType = "application/grpc"

func isGRPC(res *http.Response) bool {
	kind := res.Header["Content-Type"]
	return len(kind) > 0 && len(kind[0]) >= len(grpcType) && strings.EqualFold(kind[0][:len(grpcType)], grpcType)
}
