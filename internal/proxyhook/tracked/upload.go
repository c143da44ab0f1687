// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tracked

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// largeUpload is how many bytes of a refused body a backend is expected to read. A backend that resets the
// connection during a larger body is not counted as failed, since any client could cause that.
const largeUpload = 64 << 10

// upload is the body of a request that is sent to a backend. It records how much of it was read,
// and whether reading failed, for example because of an invalid chunk or a body over the limit.
// The client then caused the outcome of the attempt. The transport may read the body while the
// response is read.
type upload struct {
	io.ReadCloser
	length   int64        // -1 if unknown
	consumed int64        // the most that an earlier attempt read
	read     atomic.Int64 // bytes
	waited   atomic.Int64 // for the client, in nanoseconds

	begun, ended          atomic.Bool
	failed, closed, early atomic.Bool
}

// watchUpload returns a copy of req that records the use of its body; req itself and nil if it has no body. earlier
// is the body of an earlier attempt, or nil.
func watchUpload(req *http.Request, earlier *upload) (*http.Request, *upload) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	u := &upload{ReadCloser: req.Body, length: req.ContentLength}
	if earlier != nil {
		u.consumed = max(earlier.consumed, earlier.read.Load())
	}
	watched := *req // a transport must not modify req
	watched.Body = u
	return &watched, u
}

// Read reads from the body, and records errors other than io.EOF.
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

// Close closes the body. Errors of later reads are caused by the close, and are not recorded.
func (u *upload) Close() error {
	u.closed.Store(true)
	return u.ReadCloser.Close()
}

// aborted reports whether the client caused the attempt to fail.
func (u *upload) aborted() bool { return u != nil && u.failed.Load() }

// answered records that the response header has come.
func (u *upload) answered() {
	if u != nil && !u.complete() {
		u.early.Store(true)
	}
}

// incomplete reports whether the body ended too early, because an earlier attempt has read it and
// it was not buffered.
func (u *upload) incomplete() bool {
	return u.ended.Load() && u.read.Load() < max(u.length, u.consumed)
}

// complete reports whether all of the body was read.
func (u *upload) complete() bool {
	return u.ended.Load() || u.length >= 0 && u.read.Load() >= u.length
}

// exempts reports whether an attempt of this duration does not count against the backend, because
// of how the body was sent. err is the error that ended the attempt, or nil. A backend that
// answers and closes before it has read a body resets the connection, and a client that sends
// slowly makes a timeout expire, be it that of the transport or of the backend.
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
	switch outlier.FailureOf(err) {
	case outlier.Reset:
		return writing || slow || u.early.Load() || u.read.Load() > largeUpload
	case outlier.Timeout:
		return !writing && slow
	}
	return false
}
