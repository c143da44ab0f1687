// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// Copy is the copy of one request. Once it is started or dropped, it shares nothing with the request. Safe for concurrent
// use. A nil Copy stands for a request that is not mirrored: its methods do nothing.
type Copy struct {
	mirror *Mirror
	length int64 // of the body; -1 if unknown

	mu       sync.Mutex // guards the fields below
	out      *http.Request
	next     http.RoundTripper
	state    copyState
	reading  int  // the number of the latest Follow, whose reader is kept
	answered bool // the request has an answer
	closed   bool // the latest reader is closed
	body     []byte
	unwatch  func() bool // of the context of the request; nil if it is not watched
	compared comparison
}

type copyState int

// The states of a Copy.
const (
	copyNew     copyState = iota
	copyKeeping           // the body is being read
	copyStarted
	copyDropped
)

// Send sets the request to send, and the transport. The request has no body, and shares nothing with the original. Its
// context must be derived from [Mirror.Context].
func (c *Copy) Send(out *http.Request, next http.RoundTripper) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out, c.next = out, next
}

// Follow returns the request to send to the backend instead of req. It starts the copy at once if req has no body, and else
// when the body was read to its end. If req is sent again, the caller must call Follow again; the body is then kept from
// its beginning.
func (c *Copy) Follow(req *http.Request) *http.Request {
	if c == nil {
		return req
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered, c.closed = false, false
	switch {
	case c.state > copyKeeping:
		return req
	case req.Body == nil || req.Body == http.NoBody:
		c.start(nil)
		return req
	}
	if c.state == copyNew {
		c.state = copyKeeping
		c.unwatch = context.AfterFunc(req.Context(), c.requestEnded)
	}
	c.body = c.body[:0]
	c.reading++
	followed := *req // a transport must not modify req
	followed.Body = &reader{source: req.Body, trailer: req.Trailer, of: c, number: c.reading}
	return &followed
}

// reader is the body of the request. It keeps a copy of what is read.
type reader struct {
	source  io.ReadCloser
	trailer http.Header // set at the end
	of      *Copy
	number  int
}

// Read reads from the body of the request.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	r.of.keep(r, p[:n], err == io.EOF)
	return n, err
}

// Close closes the body of the request.
func (r *reader) Close() error {
	r.of.readerClosed(r.number)
	return r.source.Close()
}

// keep adds p to the copy of the body. The body is complete at its end, or, with a known length and without a trailer, when
// so many bytes were read.
func (c *Copy) keep(r *reader, p []byte, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != copyKeeping || r.number != c.reading {
		return
	}
	if int64(len(c.body)+len(p)) > c.mirror.policy.Body {
		c.drop(TooLarge)
		return
	}
	c.grow(len(p))
	c.body = append(c.body, p...)
	if ended || int64(len(c.body)) == c.length && len(r.trailer) == 0 {
		c.start(maps.Clone(r.trailer))
	}
}

// smallest is the initial size of the buffer for a body of unknown length.
const smallest = 1 << 10

// grow makes room for n more bytes. It allocates the length of the body at once if that is known, and else doubles the
// buffer, up to the bound.
func (c *Copy) grow(n int) {
	need := len(c.body) + n
	if need <= cap(c.body) {
		return
	}
	size := max(c.length, int64(need))
	if c.length < 0 {
		size = max(int64(need), min(max(2*int64(cap(c.body)), smallest), c.mirror.policy.Body))
	}
	c.body = append(make([]byte, 0, size), c.body...)
}

// requestEnded is called when the context of the request has ended.
func (c *Copy) requestEnded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropKept()
}

// readerClosed is called when the transport closes the body before its end.
func (c *Copy) readerClosed(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if number == c.reading {
		if c.closed = true; c.answered {
			c.dropKept()
		}
	}
}

// Answered records that the request got an answer, or that an attempt to send it failed. After a failure, the request may
// be sent again.
func (c *Copy) Answered(res *http.Response, err error) {
	if c == nil || err != nil {
		return
	}
	now := clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answered = true; c.closed {
		c.dropKept()
	}
	c.compared.main = outcome{res.StatusCode, now}
	c.compared.count(c.mirror.counters)
}

// dropKept drops a copy whose body will not be complete. The caller must hold mu.
func (c *Copy) dropKept() {
	if c.state == copyKeeping {
		c.drop(Incomplete)
	}
}

// drop ends a copy that was not started. The caller must hold mu.
func (c *Copy) drop(why Drop) {
	c.state = copyDropped
	c.forget()
	c.mirror.counters.drop(why)
	c.mirror.release()
}

// forget drops the references to the request and its body. The caller must hold mu.
func (c *Copy) forget() {
	if c.unwatch != nil {
		c.unwatch()
	}
	c.unwatch, c.body, c.out, c.next = nil, nil, nil, nil
}

// start sends the copy, whose body is complete, on a new goroutine. The caller must hold mu.
func (c *Copy) start(trailer http.Header) {
	out, next, body := c.out, c.next, c.body
	c.forget()
	c.state = copyStarted
	c.compared.began = clock.Now()
	setBody(out, body, trailer)
	if !c.mirror.start(func() { c.send(out, next) }) {
		c.state = copyDropped
		c.mirror.counters.drop(Ended)
		c.mirror.release()
	}
}

// setBody sets the body and its length. With a trailer the length is left unknown, since HTTP/1.1 requires that.
func setBody(out *http.Request, body []byte, trailer http.Header) {
	out.Body, out.ContentLength = http.NoBody, 0
	if len(body) == 0 && len(trailer) == 0 {
		return
	}
	out.ContentLength, out.Trailer = int64(len(body)), trailer
	if len(trailer) > 0 {
		out.ContentLength = -1
	}
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	out.Body, _ = out.GetBody()
}

// comparison holds the outcomes of a request and its copy, with times from the start of the copy. The mutex of the Copy
// guards it.
type comparison struct {
	began      time.Duration
	main, copy outcome
	counted    bool
}

// outcome is the header of an answer.
type outcome struct {
	status int // 0 for none yet
	at     time.Duration
}

// count counts the comparison once both answers are known.
func (c *comparison) count(counters *CopyCounters) {
	if c.counted || c.main.status == 0 || c.copy.status == 0 {
		return
	}
	c.counted = true
	counters.compare(c)
}
