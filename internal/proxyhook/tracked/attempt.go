// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package tracked has the state of one attempt, from the reservation of its slot to the end of the
// response's body, and counts its outcome for the backend once:
//
//	Unused -> Reserve -> Release         the request was not sent to the backend
//	Unused -> Reserve -> Claim -> Begin  a reserved slot
//	Unused -> Take -> Begin              a slot that was taken just before
//	Begin -> MakeStream, WatchUpload -> Uses -> Fail, or Answer -> TrackBody
package tracked

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendconn"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/tracing"
)

// Exchange is one attempt, from the reservation of its slot to the end of the response's
// body. It is also that body. It releases the slot exactly once, whichever comes first: an error,
// the end of the body, or the end of the request's context before the request is sent or after
// the header has come. The context matters because a handler that panics does not close bodies. The
// zero value is unused. The methods belong to the goroutine of the request, except that any
// goroutine may read and close the body.
type Exchange struct {
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

// The stages of an Exchange.
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

// Unused reports whether the attempt is the zero value.
func (a *Exchange) Unused() bool { return a.stage.Load() == stageNew }

// Backend returns the backend of the attempt.
func (a *Exchange) Backend() *backend.Backend { return a.permit.Backend }

// Reserve holds a permit with a slot until [Exchange.Claim], [Exchange.Release], or the end of ctx.
func (a *Exchange) Reserve(ctx context.Context, c backend.Permit) {
	a.permit = c
	a.stage.Store(stageReserved)
	a.watch(ctx)
}

// Claim begins to send a reserved attempt. It returns false if the reservation has ended.
func (a *Exchange) Claim() bool { return a.stage.CompareAndSwap(stageReserved, stageSending) }

// Take begins to send an unused attempt, with a permit that holds a slot.
func (a *Exchange) Take(c backend.Permit) {
	a.permit = c
	a.stage.Store(stageSending)
}

// watch ends the attempt when ctx ends.
func (a *Exchange) watch(ctx context.Context) { a.stop = context.AfterFunc(ctx, a.contextEnded) }

// contextEnded is called on its own goroutine when the context has ended.
func (a *Exchange) contextEnded() {
	defer panics.Recover("closing a response")
	for {
		switch stage := a.stage.Load(); stage {
		case stageReserved:
			if a.stage.CompareAndSwap(stage, stageEnded) {
				a.permit.Release()
				return
			}
		case stageSending:
			if a.stage.CompareAndSwap(stage, stageCanceled) {
				return
			}
		case stageOpen:
			if a.stage.CompareAndSwap(stage, stageEnded) {
				a.abort()
				return
			}
		case stageReading:
			if a.stage.CompareAndSwap(stage, stageAborted) {
				return
			}
		default:
			return
		}
	}
}

// Release ends an attempt that was not sent.
func (a *Exchange) Release() {
	if a.stage.CompareAndSwap(stageReserved, stageEnded) {
		a.stop()
		a.permit.Release()
	}
}

// errPanic is the error of an attempt whose transport or response body panics.
var errPanic = errors.New("the transport panicked")

// EndPanicked ends an attempt because of a panic, which continues.
func (a *Exchange) EndPanicked() {
	defer a.end(errPanic)
	if a.ReadCloser != nil {
		_ = a.closeOnce()
	}
}

// finish counts the outcome of the attempt, once.
func (a *Exchange) finish(now time.Duration, err error, clientGone bool) {
	if a.stage.Swap(stageEnded) != stageEnded {
		a.count(now, err, clientGone)
	}
}

func (a *Exchange) count(now time.Duration, err error, clientGone bool) {
	if a.stop != nil {
		a.stop()
	}
	if a.stream != nil {
		if err != nil && a.closedOnDown() {
			err, clientGone = backend.ErrClosed, false
		}
		a.permit.Backend.LeaveStream(a.stream)
	}
	a.use.End(now)
	a.attempt.Exempt = a.exempt(now, err)
	a.permit.Backend.End(&a.attempt, now, err, clientGone)
	a.endSpan(err, clientGone)
}

// endSpan ends the span of the attempt.
func (a *Exchange) endSpan(err error, clientGone bool) {
	switch {
	case err == nil:
		a.span.End("", "")
	case context.Cause(a.ctx) == hedge.ErrLost:
		a.span.End("cancelled", hedge.ErrLost.Error())
	case clientGone:
		a.span.End("client_gone", "the client has left")
	default:
		a.span.End(cmp.Or(a.attempt.Exempt, outlier.FailureOf(err)).String(), clip.Error(err).Error())
	}
}

// atFault reports whether a client for which an exchange waited so long is the likely cause of
// its failure: at least a second, and a quarter of the duration.
func atFault(waited, took time.Duration) bool { return waited >= time.Second && 4*waited >= took }

// exempt returns why the end of the attempt does not count against the backend. A backend with a
// limit on the time to send a response aborts it if the client reads slowly.
func (a *Exchange) exempt(now time.Duration, err error) outlier.Failure {
	switch {
	case err == backend.ErrClosed:
		return outlier.Closed
	case a.upload.exempts(err, now-a.attempt.Start):
		return outlier.Unsent
	case err != nil && atFault(a.idle, now-a.attempt.Start-a.attempt.FirstByte) && outlier.FailureOf(err) == outlier.Reset:
		return outlier.Unread
	}
	return outlier.NoFailure
}

// wrapBody replaces the body of res by a.
func (a *Exchange) wrapBody(res *http.Response) {
	a.ReadCloser = res.Body
	if conn, ok := res.Body.(io.ReadWriteCloser); !ok {
		res.Body = a
	} else if half, ok := res.Body.(closeWriter); ok {
		// The body of a 101 response is a connection. Caddy closes its write half alone, if it
		// has one.
		res.Body = &halfDuplex{duplex{a, conn}, half}
	} else {
		res.Body = &duplex{a, conn}
	}
	if !a.stage.CompareAndSwap(stageSending, stageOpen) && a.stage.CompareAndSwap(stageCanceled, stageEnded) {
		a.abort()
	}
}
