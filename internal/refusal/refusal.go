// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package refusal answers requests whose bodies nobody has read.
package refusal

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// StatusGone is what Caddy writes for a client that has left.
const StatusGone = 499

// SetReason has the placeholder {http.ballast.reason} say why a request is refused.
func SetReason(r *http.Request, reason string) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.ballast.reason", reason)
	}
}

// RetryAfter tells the client when to come again, in whole seconds.
func RetryAfter(w http.ResponseWriter, delay time.Duration) {
	seconds := int((delay + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
}

// Close has the server close an HTTP/1 connection after the answer, rather than
// read some of the body before it, as slow as the client sends it, to get at the
// next request. The server waits a moment so that the answer is not lost to a
// client that still sends; it does so for bodies that are too large, as it is told
// here, and elsewhere it would have to see the body, which Caddy has put something
// around.
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
