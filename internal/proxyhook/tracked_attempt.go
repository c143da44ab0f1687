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
	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// trackedAttempt is one attempt from the time when a slot is reserved for it, or it is
// sent, to the end of the response's body, which it is, too. However it ends, it
// gives its slot back once: by an error, with the body, when the request's context
// ends before it was sent or after the header came. A handler that panics does not
// close bodies, and lets the context end.
type trackedAttempt struct {
	io.ReadCloser // the response's body
	permit        backend.Permit
	ctx           context.Context // the attempt's
	attempt       backend.Attempt
	upload        *upload        // the request's body; nil for none
	res           *http.Response // of a pool's backend, for the trailer alone: Caddy writes to the header
	grpc          bool           // it is a gRPC response
	lastRead      time.Duration  // when the body was last read; 0 for not yet
	idle          time.Duration  // for how long in all nobody asked for more of it
	stage         atomic.Uint32
	closed        atomic.Bool
	stop          func() bool // has the end of the context do nothing; nil unless it does
}

// The stages of a flight.
const (
	stageNew      uint32 = iota
	stageReserved        // selected, and not sent
	stageSending         // the transport works: it returns by itself when the context ends
	stageCanceled        // likewise, and the context has ended
	stageOpen            // the header has come
	stageReading         // and somebody reads the body: who does, sees that the context ended
	stageAborted         // likewise, and it has
	stageEnded
)

// watch has the end of ctx end the flight.
func (f *trackedAttempt) watch(ctx context.Context) { f.stop = context.AfterFunc(ctx, f.contextEnded) }

// contextEnded is called when the context has ended, on a goroutine of its own.
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

// release ends a flight that was not sent.
func (f *trackedAttempt) release() {
	if f.stage.CompareAndSwap(stageReserved, stageEnded) {
		f.stop()
		f.permit.Release()
	}
}

// errPanic is what becomes of an attempt whose transport, or the body of whose
// response, panics.
var errPanic = errors.New("the transport panicked")

// endPanicked ends a flight because of a panic, which goes on.
func (f *trackedAttempt) endPanicked() {
	defer f.end(errPanic)
	if f.ReadCloser != nil {
		_ = f.closeOnce()
	}
}

// finish counts what became of the attempt, once.
func (f *trackedAttempt) finish(now time.Duration, err error, clientGone bool) {
	if f.stage.Swap(stageEnded) != stageEnded {
		f.count(now, err, clientGone)
	}
}

func (f *trackedAttempt) count(now time.Duration, err error, clientGone bool) {
	if f.stop != nil {
		f.stop()
	}
	f.attempt.Exempt = f.exempt(now, err)
	f.permit.Backend.End(&f.attempt, now, err, clientGone)
}

// atFault reports whether a client for which an exchange has waited so long is the
// likely cause that it broke off.
func atFault(waited, took time.Duration) bool { return waited >= time.Second && 4*waited >= took }

// exempt returns why the end of the attempt says nothing of the backend, if so. One
// that bounds the time that it takes to send a response breaks it off where the client
// is slow to read it.
func (f *trackedAttempt) exempt(now time.Duration, err error) backend.Failure {
	switch {
	case f.upload.exempts(err, now-f.attempt.Start):
		return backend.Unsent
	case err != nil && atFault(f.idle, now-f.attempt.Start-f.attempt.FirstByte) && backend.FailureOf(err) == backend.Reset:
		return backend.Unread
	}
	return backend.NoFailure
}

// wrapBody puts f around the body of res.
func (f *trackedAttempt) wrapBody(res *http.Response) {
	f.ReadCloser = res.Body
	if conn, ok := res.Body.(io.ReadWriteCloser); !ok {
		res.Body = f
	} else if half, ok := res.Body.(closeWriter); ok {
		// The body of a 101 response is a connection. Caddy closes its write
		// half alone, if it has one.
		res.Body = &halfDuplex{duplex{f, conn}, half}
	} else {
		res.Body = &duplex{f, conn}
	}
	if !f.stage.CompareAndSwap(stageSending, stageOpen) && f.stage.CompareAndSwap(stageCanceled, stageEnded) {
		f.abort()
	}
}
