// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// StatusGone is Caddy's status for a client that has left.
const StatusGone = 499

// SetReason sets the placeholder {http.ballast.reason}.
func SetReason(r *http.Request, reason string) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.ballast.reason", reason)
	}
}

// RetryAfter sets the Retry-After field, rounded up to whole seconds.
func RetryAfter(w http.ResponseWriter, delay time.Duration) {
	seconds := int((delay + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
}

// ParseRetryAfter returns the delay of a Retry-After field (RFC 9110, 10.2.3), at most a day if it is
// in seconds, or 0.
func ParseRetryAfter(field string) time.Duration {
	if field == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(field); err == nil {
		return time.Duration(min(max(seconds, 0), 86400)) * time.Second
	}
	if at, err := http.ParseTime(field); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// Close makes the server close an HTTP/1 connection after the response. Otherwise the server
// would read some of the body first, as slowly as the client sends it, to reach the next request.
// The server delays the close so that a client that still sends does not lose the response. It
// does that for bodies that are too large, so Close exceeds a MaxBytesReader; Caddy has wrapped
// the body, which hides the other cases from the server.
func Close(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = inner.Unwrap()
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader(" ")), 0).Read(make([]byte, 1))
}
