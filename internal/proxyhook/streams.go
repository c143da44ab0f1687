// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// makeStream prepares an attempt in a pool that closes streams when their backend goes down. It
// returns the request with a context of the attempt's own.
func (f *trackedAttempt) makeStream(req *http.Request) *http.Request {
	ctx, cancel := context.WithCancelCause(f.ctx)
	f.ctx, f.stream = ctx, f.permit.Backend.NewStream(cancel)
	if f.stop != nil { // it watches the request's context, for the reservation
		f.stop()
		f.watch(ctx)
	}
	return req.WithContext(ctx)
}

// openStream registers the stream once its header has come. A connection that is upgraded although
// the backend went down meanwhile is closed at once. A response is not, since it may be short.
func (f *trackedAttempt) openStream(status int) {
	if f.stream != nil && !f.permit.Backend.OpenStream(f.stream) && status == http.StatusSwitchingProtocols {
		f.stream.Close()
	}
}

// closedOnDown reports whether the stream was closed because its backend went down.
func (f *trackedAttempt) closedOnDown() bool {
	return f.stream != nil && context.Cause(f.ctx) == backend.ErrClosed
}

// readError returns the error to return for an error of reading the body.
func (f *trackedAttempt) readError(err error) error {
	if f.closedOnDown() {
		return backend.ErrClosed
	}
	return err
}
