// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
)

// source is the body of a client: it gives pieces of random sizes, and then err.
type source struct {
	rest   []byte
	err    error
	closed int
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, s.err
	}
	n := copy(p, s.rest[:1+rand.IntN(min(len(s.rest), 4096))])
	s.rest = s.rest[n:]
	if len(s.rest) == 0 && rand.IntN(2) == 0 {
		return n, s.err
	}
	return n, nil
}

func (s *source) Close() error { s.closed++; return nil }

func requestOf(body io.ReadCloser, length int64) *http.Request {
	return &http.Request{Body: body, ContentLength: length}
}

func content(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	return data
}

// check reads a few pieces with readers that begin again now and then. Each reader gets the body from
// its beginning, and the last one all of it.
func check(t *testing.T, size, limit int, known bool, ops []byte) {
	data, length := content(size), int64(-1)
	if known {
		length = int64(size)
	}
	src := &source{rest: data, err: io.EOF}
	b := Keep(requestOf(src, length), int64(limit))
	r, err := b.Again()
	if err != nil {
		t.Fatal("the first reader:", err)
	}
	var got []byte
	most := 0 // what any reader has read
	p := make([]byte, 8192)
	ended, forks := false, 0
	for _, op := range ops {
		switch {
		case op < 40:
			next, err := b.Again()
			if err != nil {
				if err != ErrTooLarge || most <= limit {
					t.Fatalf("Again with %d of %d bytes read, %d kept: %v", most, size, limit, err)
				}
				continue
			}
			if most > limit {
				t.Fatalf("Again with %d bytes read, more than the limit of %d", most, limit)
			}
			if _, err := r.Read(p); err != ErrDetached {
				t.Fatal("a read of a detached reader:", err)
			}
			if err := r.Close(); err != nil || src.closed > 0 {
				t.Fatal("closing a detached reader closed the client's body:", err)
			}
			r, got, ended = next, nil, false
		case op < 60:
			fork, err := b.Fork()
			if err != nil {
				if whole := most == size && size <= limit && (known || ended); whole {
					t.Fatalf("Fork with all of %d bytes read: %v", size, err)
				}
				continue
			}
			forks++
			all, err := io.ReadAll(fork)
			if err != nil || !bytes.Equal(all, data) {
				t.Fatalf("a fork read %d of %d bytes: %v", len(all), size, err)
			}
			_ = fork.Close()
		default:
			n, err := r.Read(p[:1+int(op)*int(op)%len(p)])
			got = append(got, p[:n]...)
			most = max(most, len(got))
			if ended = err == io.EOF; err != nil && !ended {
				t.Fatal(err)
			}
			if !bytes.Equal(got, data[:len(got)]) || ended && len(got) != size {
				t.Fatalf("a reader got other bytes than the client's, or ended after %d of %d", len(got), size)
			}
		}
	}
	b.Settle()
	if _, err := b.Again(); err != ErrSettled {
		t.Fatal("Again after Settle:", err)
	}
	rest, err := io.ReadAll(r)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("the last reader got %d of %d bytes: %v", len(got), size, err)
	}
	if b.buf != nil {
		t.Error("the buffer was not given back")
	}
	_, _ = r.Close(), r.Close()
	if src.closed != 1 {
		t.Errorf("the client's body was closed %d times", src.closed)
	}
}

func TestEachReaderBeginsAgainAndTheLastGetsAll(t *testing.T) {
	for range 3000 {
		size, limit := rand.IntN(40_000), rand.IntN(60_000)
		ops := make([]byte, rand.IntN(30))
		for i := range ops {
			ops[i] = byte(rand.Uint32())
		}
		check(t, size, limit, rand.IntN(2) == 0, ops)
	}
}

func FuzzBody(f *testing.F) {
	f.Add(uint16(10), uint16(10), true, []byte{100, 100, 0, 50})
	f.Add(uint16(0), uint16(0), false, []byte{0, 200, 50})
	f.Add(uint16(3000), uint16(2000), false, []byte{100, 0, 255, 255, 0, 50})
	f.Fuzz(func(t *testing.T, size, limit uint16, known bool, ops []byte) {
		check(t, int(size), int(limit), known, ops[:min(len(ops), 100)])
	})
}

func TestBodyWithinTheLimitCanBeReadAgainAfterItsEnd(t *testing.T) {
	for _, length := range []int64{-1, 100} {
		b := Keep(requestOf(&source{rest: content(100), err: io.EOF}, length), 100)
		r, _ := b.Again()
		if all, err := io.ReadAll(r); len(all) != 100 || err != nil {
			t.Fatal(len(all), err)
		}
		r, err := b.Again()
		if err != nil {
			t.Fatal(err)
		}
		if all, _ := io.ReadAll(r); !bytes.Equal(all, content(100)) {
			t.Errorf("read %d bytes again", len(all))
		}
	}
}

func TestErrorOfTheClientComesAgain(t *testing.T) {
	broken := errors.New("broken")
	b := Keep(requestOf(&source{rest: content(100), err: broken}, 200), 1000)
	for range 2 {
		r, _ := b.Again()
		if all, err := io.ReadAll(r); err != broken || len(all) != 100 {
			t.Error(len(all), err)
		}
	}
	if _, err := b.Fork(); err != ErrPartial {
		t.Error("Fork of a broken body:", err)
	}
}

// The rest of the body comes through a read of the first reader that began before it was detached.
func TestReadInFlightOfADetachedReaderLosesNoByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, w := io.Pipe()
		b := Keep(requestOf(client, -1), 100)
		first, _ := b.Again()
		var early error
		go func() { _, early = first.Read(make([]byte, 64)) }()
		synctest.Wait()
		second, err := b.Again()
		if err != nil {
			t.Fatal(err)
		}
		var all []byte
		go func() { all, err = io.ReadAll(second) }()
		synctest.Wait()
		b.Settle()
		_, _ = w.Write([]byte("first "))
		_, _ = w.Write([]byte("second"))
		_ = w.Close()
		synctest.Wait()
		if string(all) != "first second" || err != nil || early != ErrDetached {
			t.Errorf("read %q: %v; the detached reader: %v", all, err, early)
		}
	})
}

func TestReadInFlightBeyondTheLimitKeepsItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, w := io.Pipe()
		b := Keep(requestOf(client, -1), 3)
		r, _ := b.Again()
		var all []byte
		go func() { all, _ = io.ReadAll(r) }()
		_, _ = w.Write([]byte("abc"))
		synctest.Wait()
		if _, err := b.Again(); err != ErrBusy {
			t.Error("Again during a read beyond the limit:", err)
		}
		_, _ = w.Write([]byte("d"))
		synctest.Wait()
		if _, err := b.Again(); err == nil {
			t.Error("Again after a read beyond the limit")
		}
		_ = w.Close()
		synctest.Wait()
		if string(all) != "abcd" {
			t.Errorf("read %q", all)
		}
	})
}

func TestCloseEndsAReadThatWaitsForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, w := io.Pipe()
		b := Keep(requestOf(client, -1), 100)
		first, _ := b.Again()
		go func() { _, _ = first.Read(make([]byte, 64)) }()
		synctest.Wait()
		second, _ := b.Again()
		var err error
		go func() { _, err = second.Read(make([]byte, 64)) }()
		synctest.Wait()
		_ = second.Close()
		synctest.Wait()
		if err != errClosed {
			t.Error(err)
		}
		b.Settle()
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("the client's body is still open")
		}
	})
}

func TestSettleWithoutAReaderClosesTheBody(t *testing.T) {
	src := &source{err: io.EOF}
	Keep(requestOf(src, -1), 10).Settle()
	if src.closed != 1 {
		t.Errorf("closed %d times", src.closed)
	}
}

func TestRequestWithoutBodyCostsNothing(t *testing.T) {
	for _, req := range []*http.Request{{}, {Body: http.NoBody}} {
		if n := testing.AllocsPerRun(100, func() {
			b := Keep(req, 1000)
			again, err := b.Request(req)
			if again != req || err != nil {
				t.Fatal(err)
			}
			if _, err := b.Fork(); err != nil {
				t.Fatal(err)
			}
			b.Settle()
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// Transports read and close a body on other goroutines, also after RoundTrip has returned.
func TestReadersOfManyGoroutines(t *testing.T) {
	data := content(20_000)
	for range 300 {
		client, w := io.Pipe()
		go func() {
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(2000))
				_, _ = w.Write(rest[:n])
				rest = rest[n:]
			}
			_ = w.Close()
		}()
		b := Keep(requestOf(client, int64(len(data))), int64(len(data)))
		var wg sync.WaitGroup
		for range 4 {
			r, err := b.Again()
			if err == ErrBusy { // an earlier reader looks for the end
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				all, err := io.ReadAll(r)
				if !bytes.Equal(all, data[:len(all)]) || err == nil && len(all) != len(data) {
					t.Errorf("a reader got %d bytes and %v", len(all), err)
				}
				_ = r.Close()
			})
			wg.Go(func() {
				if fork, err := b.Fork(); err == nil {
					defer fork.Close()
					if all, err := io.ReadAll(fork); err != nil || !bytes.Equal(all, data) {
						t.Errorf("a fork got %d bytes and %v", len(all), err)
					}
				}
			})
		}
		b.Settle()
		wg.Wait()
		if _, err := w.Write([]byte("x")); err != io.ErrClosedPipe {
			t.Error("the client's body is open:", err)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	data := content(2000)
	p := make([]byte, 32<<10)
	b.ReportAllocs()
	for b.Loop() {
		src := source{rest: data, err: io.EOF}
		body := Keep(requestOf(&src, int64(len(data))), 64<<10)
		r, _ := body.Again()
		for {
			if _, err := r.Read(p); err != nil {
				break
			}
		}
		body.Settle()
		_ = r.Close()
	}
}
