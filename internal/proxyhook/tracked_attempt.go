// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendconn"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/tracing"
)

// trackedAttempt is one attempt, from the reservation of its slot to the end of the response's
// body. It is also that body. It releases the slot exactly once, whichever comes first: an error,
// the end of the body, or the end of the request's context before the request is sent or after
// the header has come. The context matters because a handler that panics does not close bodies.
type trackedAttempt struct {
	io.ReadCloser // the response's body
	permit        backend.Permit
	ctx           context.Context // of the attempt
	attempt       backend.Attempt
	upload        *upload              // the request's body; nil for none
	use           *backendconn.Request // of a connection; nil for none
	res           *http.Response       // of a pool's backend, only for the trailer: Caddy writes to the header
	metric        *orca.Metric         // of load reports; set with res
	grpc          bool                 // a gRPC response
	lastRead      time.Duration        // when the body was last read; 0 for not yet
	idle          time.Duration        // total time between reads of the body
	stage         atomic.Uint32
	closed        atomic.Bool
	stop          func() bool     // stops watch; nil if it is not watched
	span          tracing.Span    // of the attempt; zero if the request is not traced
	stream        *backend.Stream // nil unless the pool closes streams when their backend goes down
}

// The stages of a trackedAttempt.
const (
	stageNew      uint32 = iota
	stageReserved        // selected, not sent
	stageSending         // the transport works; it returns by itself when the context ends
	stageCanceled        // likewise, and the context has ended
	stageOpen            // the header has come
	stageReading         // a goroutine reads the body; it checks for the end of the context
	stageAborted         // likewise, and the context has ended
	stageEnded
)

// watch ends the attempt when ctx ends.
func (f *trackedAttempt) watch(ctx context.Context) { f.stop = context.AfterFunc(ctx, f.contextEnded) }

// contextEnded is called on its own goroutine when the context has ended.
func (f *trackedAttempt) contextEnded() {
	defer panics.Recover("closing a response")
	for {
		switch stage := f.stage.Load(); stage {
		case stageReserved:
			if f.stage.CompareAndSwap(stage, stageEnded) {
				f.permit.Release()
				return
			}
		case stageSending:
			if f.stage.CompareAndSwap(stage, stageCanceled) {
				return
			}
		case stageOpen:
			if f.stage.CompareAndSwap(stage, stageEnded) {
				f.abort()
				return
			}
		case stageReading:
			if f.stage.CompareAndSwap(stage, stageAborted) {
				return
			}
		default:
			return
		}
	}
}

// release ends an attempt that was not sent.
func (f *trackedAttempt) release() {
	if f.stage.CompareAndSwap(stageReserved, stageEnded) {
		f.stop()
		f.permit.Release()
	}
}

// errPanic is the error of an attempt whose transport or response body panics.
var errPanic = errors.New("the transport panicked")

// endPanicked ends an attempt because of a panic, which continues.
func (f *trackedAttempt) endPanicked() {
	defer f.end(errPanic)
	if f.ReadCloser != nil {
		_ = f.closeOnce()
	}
}

// finish counts the outcome of the attempt, once.
func (f *trackedAttempt) finish(now time.Duration, err error, clientGone bool) {
	if f.stage.Swap(stageEnded) != stageEnded {
		f.count(now, err, clientGone)
	}
}

func (f *trackedAttempt) count(now time.Duration, err error, clientGone bool) {
	if f.stop != nil {
		f.stop()
	}
	if f.stream != nil {
		if err != nil && f.closedOnDown() {
			err, clientGone = backend.ErrClosed, false
		}
		f.permit.Backend.LeaveStream(f.stream)
	}
	f.use.End(now)
	f.attempt.Exempt = f.exempt(now, err)
	f.permit.Backend.End(&f.attempt, now, err, clientGone)
	f.endSpan(err, clientGone)
}

// endSpan ends the span of the attempt.
func (f *trackedAttempt) endSpan(err error, clientGone bool) {
	switch {
	case err == nil:
		f.span.End("", "")
	case clientGone:
		f.span.End("client_gone", "the client has left")
	default:
		f.span.End(outlier.FailureOf(err).String(), clip.Error(err).Error())
	}
}

// atFault reports whether a client for which an exchange waited so long is the likely cause of
// its failure: at least a second, and a quarter of the duration.
func atFault(waited, took time.Duration) bool { return waited >= time.Second && 4*waited >= took }

// exempt returns why the end of the attempt does not count against the backend. A backend with a
// limit on the time to send a response aborts it if the client reads slowly.
func (f *trackedAttempt) exempt(now time.Duration, err error) outlier.Failure {
	switch {
	case err == backend.ErrClosed:
		return outlier.Closed
	case f.upload.exempts(err, now-f.attempt.Start):
		return outlier.Unsent
	case err != nil && atFault(f.idle, now-f.attempt.Start-f.attempt.FirstByte) && outlier.FailureOf(err) == outlier.Reset:
		return outlier.Unread
	}
	return outlier.NoFailure
}

// wrapBody makes f the body of res.
func (f *trackedAttempt) wrapBody(res *http.Response) {
	f.ReadCloser = res.Body
	if conn, ok := res.Body.(io.ReadWriteCloser); !ok {
		res.Body = f
	} else if half, ok := res.Body.(closeWriter); ok {
		// The body of a 101 response is a connection. Caddy closes its write half alone, if it
		// has one.
		res.Body = &halfDuplex{duplex{f, conn}, half}
	} else {
		res.Body = &duplex{f, conn}
	}
	if !f.stage.CompareAndSwap(stageSending, stageOpen) && f.stage.CompareAndSwap(stageCanceled, stageEnded) {
		f.abort()
	}
}
