// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
)

// ahead is the body of an answer that waits for the quorum. It reads on meanwhile,
// so that a backend is rid of a short answer: what waits would keep its place from
// another fan-out, which may keep one that this waits for. One goroutine may read
// from it, and any close it.
type ahead struct {
	from, to *http.Response // as it comes, and as it is given on
	body     io.ReadCloser  // of from, which gets another one when it is not wanted

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
// transport writes to its own when the trailer comes.
func readAhead(res *http.Response) *http.Response {
	if res.Body == nil || res.Body == http.NoBody {
		return res
	}
	to := *res
	to.Trailer = maps.Clone(res.Trailer)
	a := &ahead{from: res, to: &to, body: res.Body}
	a.more.L = &a.mu
	to.Body = a
	go a.pump()
	return &to
}

// pump reads until the end, while there is room.
func (a *ahead) pump() {
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
func (a *ahead) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.begin == len(a.buf) && a.err == nil {
		a.more.Wait()
	}
	if a.begin == len(a.buf) || a.err == errClosed {
		if a.err == io.EOF {
			a.to.Trailer = a.from.Trailer // by now it is there
		}
		return 0, a.err
	}
	n := copy(p, a.buf[a.begin:])
	a.begin += n
	a.more.Broadcast()
	return n, nil
}

// Close ends the reading.
func (a *ahead) Close() error {
	a.mu.Lock()
	if a.err == nil {
		a.err = errClosed
	}
	a.more.Broadcast()
	a.mu.Unlock()
	return a.body.Close()
}
