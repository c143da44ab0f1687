// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

var errPanic = errors.New("reading the response panicked")

const (
	// keptResponse is the most bytes of a kept response that are read in advance.
	keptResponse = 64 << 10
	// drainTimeout is how long a discarded response may take to end.
	drainTimeout = time.Second
)

// Response is the response to a failed attempt, which is passed on as it is if no attempt gets a
// better one. The beginning of its body is read at once, on a goroutine that ends with the request,
// so that a short one keeps neither the slot nor the connection of the backend. Only one goroutine
// may use it.
type Response struct {
	// Of is the response as the transport returned it, which also writes to it. Read-only.
	Of  *http.Response
	out http.Response // a copy, to be passed on

	mu      sync.Mutex
	changed sync.Cond // of what is below
	begin   []byte    // the beginning of the body
	passed  int       // how much of it was passed on
	ended   bool      // nothing more is read in advance
	err     error     // the end of the body, if ended; nil if it goes on after begin
	dropped *time.Timer
}

// KeepResponse returns a kept response. It takes ownership of res.
func KeepResponse(res *http.Response) *Response {
	r := &Response{Of: res, out: *res}
	r.changed.L = &r.mu
	if res.Body == nil || res.Body == http.NoBody {
		r.ended, r.err = true, io.EOF
		return r
	}
	r.out.Trailer = maps.Clone(res.Trailer) // only what is announced, until the end of the body
	r.out.Body = r
	go r.read()
	return r
}

// read reads the beginning of the body.
func (r *Response) read() {
	defer panics.Recover("reading a response")
	err := errPanic
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended, r.err = true, err
		r.changed.Broadcast()
		if r.dropped != nil && r.dropped.Stop() {
			_ = r.Of.Body.Close()
		}
	}()
	for chunk := make([]byte, 4<<10); ; {
		var n int
		n, err = r.Of.Body.Read(chunk)
		r.mu.Lock()
		r.begin = append(r.begin, chunk[:n]...)
		full := len(r.begin) >= keptResponse
		r.changed.Broadcast()
		r.mu.Unlock()
		if full || err != nil {
			return
		}
	}
}

// Whole returns the response to pass on.
func (r *Response) Whole() *http.Response { return &r.out }

// Discard closes the response. If its body is being read, it is closed when that ends, so that a
// short one leaves its connection usable, or after a second.
func (r *Response) Discard() {
	if r.Of.Body == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		_ = r.Of.Body.Close()
	} else {
		r.dropped = time.AfterFunc(drainTimeout, func() {
			defer panics.Recover("closing a response that takes too long")
			_ = r.Of.Body.Close()
		})
	}
}

// Read reads from the body of the response, as it comes. At its end the trailer is complete.
func (r *Response) Read(p []byte) (n int, err error) {
	r.mu.Lock()
	for r.passed == len(r.begin) && !r.ended {
		r.changed.Wait()
	}
	n = copy(p, r.begin[r.passed:])
	r.passed += n
	done := r.passed == len(r.begin) && r.ended
	err = r.err
	r.mu.Unlock()
	switch {
	case n > 0 || !done:
		return n, nil
	case err == nil:
		n, err = r.Of.Body.Read(p)
	}
	if err == io.EOF && len(r.Of.Trailer) > 0 {
		if r.out.Trailer == nil {
			r.out.Trailer = make(http.Header)
		}
		maps.Copy(r.out.Trailer, r.Of.Trailer)
	}
	return n, err
}

// Close closes the body of the response.
func (r *Response) Close() error { return r.Of.Body.Close() }
