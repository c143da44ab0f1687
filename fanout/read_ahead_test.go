// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// body gives its text in pieces, ends with err, and counts.
type body struct {
	text   []byte
	err    error
	pause  time.Duration
	read   int
	closed chan struct{}
}

func (b *body) Read(p []byte) (int, error) {
	if b.pause > 0 {
		select {
		case <-b.closed:
			return 0, io.ErrClosedPipe
		case <-time.After(b.pause):
		}
	}
	n := copy(p[:min(len(p), 1+rand.IntN(5000))], b.text)
	b.text = b.text[n:]
	b.read += n
	if n == 0 {
		return 0, b.err
	}
	return n, nil
}

func (b *body) Close() error { close(b.closed); return nil }

// What is read ahead is what was there, to its end and with its error, however it is
// read; and never more than there is room for.
func TestReadAhead(t *testing.T) {
	broken := errors.New("broken")
	for _, size := range []int{0, 1, 5000, maxAhead - 1, maxAhead, maxAhead + 1, 1 << 20} {
		for _, end := range []error{io.EOF, broken} {
			synctest.Test(t, func(t *testing.T) {
				text := make([]byte, size)
				for i := range text {
					text[i] = byte(rand.Uint32())
				}
				b := &body{text: text, err: end, closed: make(chan struct{})}
				a := readAhead(t.Context(), &http.Response{Body: b}).Body
				time.Sleep(time.Hour)
				synctest.Wait()
				if b.read > maxAhead+8<<10 || b.read < min(size, maxAhead-8<<10) {
					t.Errorf("%d bytes of %d were read ahead", b.read, size)
				}
				var got bytes.Buffer
				_, err := io.CopyBuffer(&got, struct{ io.Reader }{a}, make([]byte, 1+rand.IntN(10_000)))
				if want := end; want == io.EOF && err != nil || want != io.EOF && err != want {
					t.Errorf("%d bytes ended with %v, want %v", size, err, end)
				}
				if !bytes.Equal(got.Bytes(), text) {
					t.Errorf("%d bytes were read, and differ from the %d", got.Len(), size)
				}
				_ = a.Close()
			})
		}
	}
}

// Who closes it ends the reading, whether it waits for more or for room.
func TestReadAheadIsClosed(t *testing.T) {
	for name, pause := range map[string]time.Duration{"full": 0, "empty": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := readAhead(t.Context(), &http.Response{Body: &body{text: make([]byte, 1<<20), err: io.EOF, pause: pause, closed: make(chan struct{})}}).Body
				time.Sleep(time.Hour)
				_ = a.Close()
				if _, err := a.Read(make([]byte, 1)); err == nil {
					t.Error("it is read after it was closed")
				}
			})
		})
	}
}

// fragile is a body that panics.
type fragile struct{}

func (fragile) Read([]byte) (int, error) { panic("in Read") }

func (fragile) Close() error { return nil }

// A body that panics breaks its answer, and not the process.
func TestReadAheadSurvivesPanics(t *testing.T) {
	a := readAhead(t.Context(), &http.Response{Body: fragile{}}).Body
	if _, err := io.ReadAll(a); err == nil || err.Error() != "panic: in Read" {
		t.Errorf("the answer ends with %v", err)
	}
	_ = a.Close()
}

// Reading ahead ends with the try, also if nobody has closed the answer: its handler
// may have panicked.
func TestReadAheadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := readAhead(ctx, &http.Response{Body: &body{text: make([]byte, 1<<20), err: io.EOF, closed: make(chan struct{})}}).Body
		synctest.Wait()
		cancel()
		synctest.Wait() // a goroutine that is left would be a deadlock of the bubble
		if n, err := io.Copy(io.Discard, a); err != context.Canceled || n > maxAhead+8<<10 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// What Caddy is given is its own to write to, and the transport's is the transport's.
func TestReadAheadSharesNoHeader(t *testing.T) {
	res := &http.Response{Header: http.Header{"Keep-Alive": {"1"}}, Trailer: http.Header{"X": nil}, Body: &body{err: io.EOF, closed: make(chan struct{})}}
	to := readAhead(t.Context(), res)
	to.Header.Del("Keep-Alive")
	delete(to.Trailer, "X")
	if len(res.Header) != 1 || len(res.Trailer) != 1 {
		t.Errorf("the transport's response has become %v, %v", res.Header, res.Trailer)
	}
	_ = to.Body.Close()
}
