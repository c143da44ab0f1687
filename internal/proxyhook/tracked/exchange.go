// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tracked

import (
	"context"
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendconn"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/tracing"
)

// Begin counts the attempt as in flight on its backend, and returns the time, as of [clock.Now]. of
// has its load, its affinity and whether it is hedgeable.
func (a *Exchange) Begin(ctx context.Context, of backend.Attempt) time.Duration {
	a.ctx, a.attempt = ctx, of
	a.attempt.Start, a.attempt.Slot = clock.Now(), true
	a.permit.Backend.Begin(&a.attempt)
	return a.attempt.Start
}

// WatchUpload returns the request to send in place of req. It records how the body is read. earlier
// is the attempt before with the same request, or nil.
func (a *Exchange) WatchUpload(req *http.Request, earlier *Exchange) *http.Request {
	var before *upload
	if earlier != nil {
		before = earlier.upload
	}
	req, a.upload = watchUpload(req, before)
	return req
}

// Uses sets the use of a connection that the attempt ends; nil for none.
func (a *Exchange) Uses(use *backendconn.Request) { a.use = use }

// SetSpan sets the span that the attempt ends.
func (a *Exchange) SetSpan(span tracing.Span) { a.span = span }

// ClientFailed reports whether the client caused the attempt to fail: the request's body could not
// be read. It is false for nil.
func (a *Exchange) ClientFailed() bool { return a != nil && a.upload.aborted() }

// Waiting reports whether the attempt has no connection yet, as far as that is known.
func (a *Exchange) Waiting() bool { return a.use.Waiting() }

// Fail ends the attempt with the error of the transport.
func (a *Exchange) Fail(now time.Duration, err error) {
	a.finish(now, err, a.ctx.Err() != nil || a.upload.aborted())
}

// Answer records the header of the response. metric is the metric for load reports of the pool; nil without a pool,
// where load reports and gRPC statuses do not count.
func (a *Exchange) Answer(now time.Duration, res *http.Response, metric *orca.Metric) {
	a.upload.answered()
	a.span.Answered(res.StatusCode)
	a.attempt.Status, a.attempt.FirstByte = res.StatusCode, now-a.attempt.Start
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable {
		a.attempt.RetryAfter = httpx.ParseRetryAfter(res.Header.Get("Retry-After"))
	}
	if metric != nil {
		a.metric = metric
		metric.Record(a.permit.Backend, now, res.Header)
		if a.grpc = isGRPC(res); a.grpc {
			a.attempt.Error = grpcError(res.Header)
		}
	}
	a.permit.Backend.Answer(&a.attempt)
}

// TrackBody replaces the body of res by the attempt, which then ends with the body. It returns false for a response
// without a body: the attempt has ended.
func (a *Exchange) TrackBody(now time.Duration, res *http.Response) bool {
	if res.Body == nil || res.Body == http.NoBody {
		a.noBody()
		a.finish(now, nil, false)
		return false
	}
	if a.metric != nil {
		a.res = res
	}
	// From here a panicking handler is detected by the end of its context: see [Exchange].
	if a.stop == nil {
		a.watch(a.ctx)
	}
	a.wrapBody(res)
	a.openStream(res.StatusCode)
	return true
}
