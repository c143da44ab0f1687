// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tracked

import (
	"context"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// MakeStream prepares an attempt in a pool that closes streams when their backend goes down. It
// returns a context for the request, derived from ctx, that ends when the backend goes down, once
// the response's header has come.
func (a *Exchange) MakeStream(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	a.ctx, a.stream = ctx, a.permit.Backend.NewStream(cancel)
	if a.stop != nil { // it watches the request's context, for the reservation
		a.stop()
		a.watch(ctx)
	}
	return ctx
}

// openStream registers the stream once its header has come. A connection that is upgraded although
// the backend went down meanwhile is closed at once. A response is not, since it may be short.
func (a *Exchange) openStream(status int) {
	if a.stream != nil && !a.permit.Backend.OpenStream(a.stream) && status == http.StatusSwitchingProtocols {
		a.stream.Close()
	}
}

// closedOnDown reports whether the stream was closed because its backend went down.
func (a *Exchange) closedOnDown() bool {
	return a.stream != nil && context.Cause(a.ctx) == backend.ErrClosed
}

// readError returns the error to return for an error of reading the body.
func (a *Exchange) readError(err error) error {
	if a.closedOnDown() {
		return backend.ErrClosed
	}
	return err
}
