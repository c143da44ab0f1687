// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// readAheadBody is the body of a response that waits for the quorum. It is read ahead while
// it waits, so that a short response ends at its backend. Otherwise it would keep its slot
// from another fan-out, which could keep a slot that this one waits for. One goroutine may
// read; any may close.
type readAheadBody struct {
	from, to *http.Response // as received; as returned
	body     io.ReadCloser  // of from
	stop     func() bool    // stops the context's cancellation from ending the body

	mu    sync.Mutex // guards the fields below
	more  sync.Cond  // signals new data or free room
	buf   []byte
	begin int // start of the unread bytes of buf
	err   error
}

// maxAhead is the most bytes that are read ahead.
const maxAhead = 64 << 10

var errClosed = errors.New("read after close")

// readAhead returns a copy of the response whose body is read ahead. It is a copy because the
// transport writes the trailer to its own response, and Caddy modifies the one that it gets.
// Canceling ctx ends the reading.
func readAhead(ctx context.Context, res *http.Response) *http.Response {
	if res.Body == nil || res.Body == http.NoBody {
		return res
	}
	to := *res
	to.Header, to.Trailer = res.Header.Clone(), res.Trailer.Clone()
	a := &readAheadBody{from: res, to: &to, body: res.Body}
	a.more.L = &a.mu
	a.stop = context.AfterFunc(ctx, func() { a.end(ctx.Err()) })
	to.Body = a
	go a.fill()
	return &to
}

// fill reads to the end of the body, and waits while the buffer is full.
func (a *readAheadBody) fill() {
	defer func() {
		// A panic of the transport must not end the process; it ends the response.
		if p := recover(); p != nil {
			panics.Log("buffering a response", p)
			a.end(fmt.Errorf("panic: %v", p))
		}
	}()
	chunk := make([]byte, 8<<10)
	for {
		n, err := a.body.Read(chunk)
		a.mu.Lock()
		for len(a.buf)-a.begin+n > maxAhead && a.begin < len(a.buf) && a.err == nil {
			a.more.Wait()
		}
		a.buf = append(append(a.buf[:0], a.buf[a.begin:]...), chunk[:n]...)
		a.begin = 0
		if a.err == nil {
			a.err = err
		}
		done := a.err != nil
		a.more.Broadcast()
		a.mu.Unlock()
		if done {
			return
		}
	}
}

// Read returns buffered bytes.
func (a *readAheadBody) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.begin == len(a.buf) && a.err == nil {
		a.more.Wait()
	}
	if a.begin == len(a.buf) || a.err == errClosed {
		if a.err == io.EOF {
			a.to.Trailer = a.from.Trailer.Clone() // at the end of the body, the trailer is complete
		}
		return 0, a.err
	}
	n := copy(p, a.buf[a.begin:])
	a.begin += n
	a.more.Broadcast()
	return n, nil
}

// Close ends the reading.
func (a *readAheadBody) Close() error {
	a.stop()
	a.end(errClosed)
	return a.body.Close()
}

// end ends the body with err, unless it has ended before.
func (a *readAheadBody) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
	a.more.Broadcast()
}
