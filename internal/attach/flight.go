// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

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

// flight is one attempt from the time when a slot is reserved for it, or it is
// sent, to the end of the response's body, which it is, too. However it ends, it
// gives its slot back once: by an error, with the body, when the request's context
// ends before it was sent or after the header came. A handler that panics does not
// close bodies, and lets the context end.
type flight struct {
	io.ReadCloser // the response's body
	claim         backend.Permit
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
	unused   uint32 = iota
	reserved        // selected, and not sent
	sending         // the transport works: it returns by itself when the context ends
	left            // likewise, and the context has ended
	open            // the header has come
	reading         // and somebody reads the body: who does, sees that the context ended
	torn            // likewise, and it has
	over
)

// watch has the end of ctx end the flight.
func (f *flight) watch(ctx context.Context) { f.stop = context.AfterFunc(ctx, f.leave) }

// leave is called when the context has ended, on a goroutine of its own.
func (f *flight) leave() {
	defer panics.Recover("closing a response")
	for {
		switch stage := f.stage.Load(); stage {
		case reserved:
			if f.stage.CompareAndSwap(stage, over) {
				f.claim.Release()
				return
			}
		case sending:
			if f.stage.CompareAndSwap(stage, left) {
				return
			}
		case open:
			if f.stage.CompareAndSwap(stage, over) {
				f.tear()
				return
			}
		case reading:
			if f.stage.CompareAndSwap(stage, torn) {
				return
			}
		default:
			return
		}
	}
}

// giveBack ends a flight that was not sent.
func (f *flight) giveBack() {
	if f.stage.CompareAndSwap(reserved, over) {
		f.stop()
		f.claim.Release()
	}
}

// errPanic is what becomes of an attempt whose transport, or the body of whose
// response, panics.
var errPanic = errors.New("the transport panicked")

// broke ends a flight because of a panic, which goes on.
func (f *flight) broke() {
	defer f.end(errPanic)
	if f.ReadCloser != nil {
		_ = f.shut()
	}
}

// finish counts what became of the attempt, once.
func (f *flight) finish(now time.Duration, err error, clientGone bool) {
	if f.stage.Swap(over) != over {
		f.count(now, err, clientGone)
	}
}

func (f *flight) count(now time.Duration, err error, clientGone bool) {
	if f.stop != nil {
		f.stop()
	}
	f.attempt.Exempt = f.excuse(now, err)
	f.claim.Backend.End(&f.attempt, now, err, clientGone)
}

// atFault reports whether a client for which an exchange has waited so long is the
// likely cause that it broke off.
func atFault(waited, took time.Duration) bool { return waited >= time.Second && 4*waited >= took }

// excuse returns why the end of the attempt says nothing of the backend, if so. One
// that bounds the time that it takes to send a response breaks it off where the client
// is slow to read it.
func (f *flight) excuse(now time.Duration, err error) backend.Failure {
	switch {
	case f.upload.excuses(err, now-f.attempt.Start):
		return backend.Unsent
	case err != nil && atFault(f.idle, now-f.attempt.Start-f.attempt.FirstByte) && backend.FailureOf(err) == backend.Reset:
		return backend.Unread
	}
	return backend.NoFailure
}

// follow puts f around the body of res.
func (f *flight) follow(res *http.Response) {
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
	if !f.stage.CompareAndSwap(sending, open) && f.stage.CompareAndSwap(left, over) {
		f.tear()
	}
}
