// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// largeUpload is how many bytes a backend may be expected to read of a body that it
// refuses. One that cuts a larger body off does what any client can make it do.
const largeUpload = 64 << 10

// upload is the body of a request on its way to a backend. It remembers how much of
// it was read, and whether that failed: then the client is to blame for what becomes
// of the attempt, with a chunk that is none or more than it may send. The transport
// reads it, possibly while the response is read.
type upload struct {
	io.ReadCloser
	length   int64        // -1 if it is not known
	consumed int64        // the most that an earlier attempt read
	read     atomic.Int64 // bytes
	waited   atomic.Int64 // for the client, in nanoseconds

	begun, ended          atomic.Bool
	failed, closed, early atomic.Bool
}

// watchUpload returns a request with the body of req watched, or req itself and
// nil if it has none. Earlier is what an earlier attempt read, or nil.
func watchUpload(req *http.Request, earlier *upload) (*http.Request, *upload) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	u := &upload{ReadCloser: req.Body, length: req.ContentLength}
	if earlier != nil {
		u.consumed = max(earlier.consumed, earlier.read.Load())
	}
	watched := *req // which a transport must not modify
	watched.Body = u
	return &watched, u
}

// Read notes an error that is not the end.
func (u *upload) Read(p []byte) (int, error) {
	u.begun.Store(true)
	start := clock.Now()
	n, err := u.ReadCloser.Read(p)
	u.waited.Add(int64(clock.Now() - start))
	u.read.Add(int64(n))
	switch {
	case err == nil || u.closed.Load():
	case err == io.EOF:
		u.ended.Store(true)
	default:
		u.failed.Store(true)
	}
	return n, err
}

// Close notes that the transport wants no more: what a read says then is its own
// doing.
func (u *upload) Close() error {
	u.closed.Store(true)
	return u.ReadCloser.Close()
}

// aborted reports whether the client has spoiled the attempt.
func (u *upload) aborted() bool { return u != nil && u.failed.Load() }

// answered notes that the header of a response has come.
func (u *upload) answered() {
	if u != nil && !u.complete() {
		u.early.Store(true)
	}
}

// incomplete reports whether the body ended before all of it was there: an earlier
// attempt has read it, and nobody has kept it.
func (u *upload) incomplete() bool {
	return u.ended.Load() && u.read.Load() < max(u.length, u.consumed)
}

// complete reports whether all of the body was read.
func (u *upload) complete() bool {
	return u.ended.Load() || u.length >= 0 && u.read.Load() >= u.length
}

// exempts reports whether an attempt that took so long says nothing of the backend,
// because of how the body was sent: err is what ended the attempt, or nil. A backend
// that answers and closes before it has read a body breaks the connection, and a client
// that sends slowly makes a timeout pass: of the transport, or of the backend.
func (u *upload) exempts(err error, took time.Duration) bool {
	if u == nil || !u.begun.Load() {
		return false
	}
	if u.incomplete() {
		return true
	}
	if err == nil {
		return false
	}
	var opErr *net.OpError
	slow := !u.complete() || atFault(time.Duration(u.waited.Load()), took)
	writing := errors.As(err, &opErr) && opErr.Op == "write"
	switch backend.FailureOf(err) {
	case backend.Reset:
		return writing || slow || u.early.Load() || u.read.Load() > largeUpload
	case backend.Timeout:
		return !writing && slow
	}
	return false
}
