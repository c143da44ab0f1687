// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"io"
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// maxDiscard is the most bytes of an unwanted body that are read.
const maxDiscard = 64 << 10

// Discard reads the rest of an unwanted response for at most wait, if it is short, so that the
// connection can be reused. The caller closes the body.
func Discard(res *http.Response, wait time.Duration) {
	if res.ContentLength > maxDiscard {
		return
	}
	body := res.Body // res may have another body when the timer fires
	timer := time.AfterFunc(wait, func() {
		defer panics.Recover("closing a response that takes too long")
		_ = body.Close()
	})
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, body, maxDiscard)
}
