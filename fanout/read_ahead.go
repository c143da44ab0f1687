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

// readAheadBody is the body of an answer that waits for the quorum. It reads on meanwhile,
// so that a backend is rid of a short answer: what waits would keep its place from
// another fan-out, which may keep one that this waits for. One goroutine may read
// from it, and any close it.
type readAheadBody struct {
	from, to *http.Response // as it comes, and as it is given on
	body     io.ReadCloser  // of from
	stop     func() bool    // has the end of the context do nothing

	mu    sync.Mutex // guards what follows
	more  sync.Cond  // there is something to read, or room
	buf   []byte
	begin int // of what has not been read
	err   error
}

// maxAhead is how many bytes are read ahead.
const maxAhead = 64 << 10

var errClosed = errors.New("read after close")

// readAhead returns the response with its body read ahead. It is another, since the
// transport writes to its own when the trailer comes, and Caddy to what it is given.
// The reading ends with ctx, too.
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

// fill reads until the end, while there is room.
func (a *readAheadBody) fill() {
	defer func() {
		// The transport's panic must not end the process: it breaks the answer.
		if p := recover(); p != nil {
			panics.Log("reading a response ahead", p)
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

// Read reads what has come.
func (a *readAheadBody) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.begin == len(a.buf) && a.err == nil {
		a.more.Wait()
	}
	if a.begin == len(a.buf) || a.err == errClosed {
		if a.err == io.EOF {
			a.to.Trailer = a.from.Trailer.Clone() // by now it is there
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

// end has nothing more be read, unless it has ended before.
func (a *readAheadBody) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
	a.more.Broadcast()
}
