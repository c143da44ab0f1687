// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"fmt"
	"net/http"
	"strings"
)

// grpcUnavailable is the code UNAVAILABLE. gRPC maps 429, 502, 503 and 504 to it, and clients may
// retry it.
const grpcUnavailable = "14"

// IsGRPC reports whether a request has the media type application/grpc, alone or with a suffix or
// parameters. gRPC-Web does not count, because its clients read HTTP statuses.
func IsGRPC(r *http.Request) bool {
	kind := r.Header["Content-Type"]
	if len(kind) != 1 {
		return false
	}
	rest, ok := CutGRPC(kind[0])
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// CutGRPC returns the media type without its beginning application/grpc, in any case, and whether
// it begins so. All media types of gRPC and gRPC-Web do.
func CutGRPC(mediaType string) (rest string, ok bool) {
	const prefix = "application/grpc"
	if len(mediaType) < len(prefix) || !strings.EqualFold(mediaType[:len(prefix)], prefix) {
		return "", false
	}
	return mediaType[len(prefix):], true
}

// SetGRPC makes header that of a gRPC response with the status UNAVAILABLE only (Trailers-Only).
// The HTTP status must be 200, and the response must have no body.
func SetGRPC(header http.Header, message string) {
	header.Set("Content-Type", "application/grpc")
	header.Set("Grpc-Status", grpcUnavailable)
	header.Set("Grpc-Message", percentEncode(message))
}

// RefusedGRPC returns such a response to a request.
func RefusedGRPC(req *http.Request, message string) *http.Response {
	res := &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: make(http.Header), Body: http.NoBody, Request: req,
	}
	SetGRPC(res.Header, message)
	return res
}

// percentEncode encodes a Grpc-Message: all bytes but printable ASCII, and the percent sign.
func percentEncode(message string) string {
	var b strings.Builder
	for i := range len(message) {
		if c := message[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
