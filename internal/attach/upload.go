// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"io"
	"net/http"
	"sync/atomic"
)

// upload is the body of a request on its way to a backend. It remembers whether
// reading it failed: then the client is to blame for what becomes of the attempt,
// with a chunk that is none or more than it may send.
type upload struct {
	io.ReadCloser
	failed, closed atomic.Bool
}

// watchUpload returns a request with the body of req watched, or req itself and
// nil if it has none.
func watchUpload(req *http.Request) (*http.Request, *upload) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	u := &upload{ReadCloser: req.Body}
	watched := *req // which a transport must not modify
	watched.Body = u
	return &watched, u
}

// Read notes an error that is not the end.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !u.closed.Load() {
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

// spoiled reports whether the client has spoiled the attempt.
func (u *upload) spoiled() bool { return u != nil && u.failed.Load() }
