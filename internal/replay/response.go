// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

var errPanic = errors.New("reading the response panicked")

// keptResponse is how many bytes of a kept response are read in advance.
const keptResponse = 64 << 10

// Response is the response to a failed attempt, which is passed on as it is if no attempt gets a
// better one. The beginning of its body is read at once, on a goroutine that ends with the request,
// so that a short one keeps neither the slot nor the connection of the backend. Only one goroutine may
// use it.
type Response struct {
	// Of is the response as the transport returned it, which also writes to it. Read-only.
	Of      *http.Response
	out     http.Response // a copy, to be passed on
	done    chan struct{} // closed when what is below is set
	begin   bytes.Reader  // the beginning of the body
	err     error         // of the body after it; nil if it is not known
	dropped atomic.Bool
}

// KeepResponse takes over a response.
func KeepResponse(res *http.Response) *Response {
	h := &Response{Of: res, out: *res, done: make(chan struct{})}
	if res.Body == nil || res.Body == http.NoBody {
		close(h.done)
		return h
	}
	h.out.Trailer = maps.Clone(res.Trailer) // only what is announced, until the end of the body
	h.out.Body = h
	go h.read(res.Body)
	return h
}

// read reads the beginning of the body.
func (h *Response) read(body io.ReadCloser) {
	defer panics.Recover("reading a response")
	defer func() {
		if h.dropped.Load() {
			_ = body.Close()
		}
	}()
	defer close(h.done)
	h.err = errPanic // unless it is read
	buf, err := io.ReadAll(io.LimitReader(body, keptResponse))
	h.begin.Reset(buf)
	h.err = err
	if err == nil && len(buf) < keptResponse {
		h.err = io.EOF
	}
}

// Whole returns the response to pass on.
func (h *Response) Whole() *http.Response { return &h.out }

// Discard closes the response. If its body is being read, it is closed when that ends, and a short
// one leaves its connection usable.
func (h *Response) Discard() {
	h.dropped.Store(true)
	select {
	case <-h.done:
		if h.Of.Body != nil {
			_ = h.Of.Body.Close()
		}
	default:
	}
}

// Read reads from the body of the response. At its end the trailer is complete.
func (h *Response) Read(p []byte) (n int, err error) {
	<-h.done
	if n, _ = h.begin.Read(p); n > 0 {
		return n, nil
	}
	if err = h.err; err == nil {
		n, err = h.Of.Body.Read(p)
	}
	if err == io.EOF && len(h.Of.Trailer) > 0 {
		if h.out.Trailer == nil {
			h.out.Trailer = make(http.Header)
		}
		maps.Copy(h.out.Trailer, h.Of.Trailer)
	}
	return n, err
}

// Close closes the body of the response.
func (h *Response) Close() error { return h.Of.Body.Close() }
