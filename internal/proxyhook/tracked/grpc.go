// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tracked

import (
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// grpcError returns the HTTP equivalent of a gRPC status in the header or trailer of a response,
// if the status is a failure of the backend, else 0.
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

// isGRPC reports whether a response is one of gRPC or gRPC-Web.
func isGRPC(res *http.Response) bool {
	kind := res.Header["Content-Type"]
	if len(kind) == 0 {
		return false
	}
	_, ok := httpx.CutGRPC(kind[0])
	return ok
}
