// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"io"
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// maxDiscard is how many bytes are read of a body that nobody wants.
const maxDiscard = 64 << 10

// Discard reads the rest of a response that nobody wants, for at most so long, if it
// is short: then the connection can be used again. It leaves the body to be closed.
func Discard(res *http.Response, wait time.Duration) {
	if res.ContentLength > maxDiscard {
		return
	}
	body := res.Body // by the time that the timer fires the response may have another
	timer := time.AfterFunc(wait, func() {
		defer panics.Recover("closing a response that takes too long")
		_ = body.Close()
	})
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, body, maxDiscard)
}
