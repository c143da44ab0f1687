// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tracked

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendtest"
)

// conn is the body of a 101 response.
type conn struct {
	bytes.Buffer
	closed, halfClosed bool
}

func (c *conn) Close() error { c.closed = true; return nil }

type halfConn struct{ *conn }

func (c halfConn) CloseWrite() error { c.halfClosed = true; return nil }

// sending returns an attempt that was sent to b.
func sending(b *backend.Backend) *Exchange {
	a := &Exchange{ctx: context.Background()}
	a.Take(backend.Permit{Backend: b})
	return a
}

func TestUpgradedBodiesStayWritable(t *testing.T) {
	for _, half := range []bool{false, true} {
		c := new(conn)
		var inner io.ReadCloser = c
		if half {
			inner = halfConn{c}
		}
		b := backend.New("", backend.Endpoint{}, backend.NewState(), nil, nil)
		b.Begin(new(backend.Attempt))
		res := &http.Response{StatusCode: http.StatusSwitchingProtocols, Body: inner}
		sending(b).wrapBody(res)
		rwc, ok := res.Body.(io.ReadWriteCloser)
		if !ok {
			t.Fatal("the body is not writable any more")
		}
		if _, err := io.WriteString(rwc, "hello"); err != nil || c.String() != "hello" {
			t.Errorf("wrote %q, %v", c.String(), err)
		}
		cw, ok := res.Body.(closeWriter)
		if ok != half {
			t.Fatalf("CloseWrite is there: %v, want %v", ok, half)
		}
		if half {
			_ = cw.CloseWrite()
			if !c.halfClosed || b.Totals().InFlight != 1 {
				t.Error("closing the write half did not reach the connection, or ended the attempt")
			}
		}
		_, _ = rwc.Read(make([]byte, 9))
		_ = rwc.Close()
		_ = rwc.Close()
		if !c.closed || b.Totals().InFlight != 0 || backendtest.Failures(b.Totals()) != 0 {
			t.Errorf("after Close: closed %v, %+v", c.closed, b.Totals())
		}
	}
}

// A body that breaks off is a failure of the backend, and counted once.
func TestBrokenBody(t *testing.T) {
	b := backend.New("", backend.Endpoint{}, backend.NewState(), nil, nil)
	b.Begin(new(backend.Attempt))
	broken := io.MultiReader(strings.NewReader("half"), errReader{})
	res := &http.Response{StatusCode: 200, Body: io.NopCloser(broken)}
	sending(b).wrapBody(res)
	_, err := io.ReadAll(res.Body)
	res.Body.Close()
	if got := b.Totals(); err == nil || backendtest.Failures(got) != 1 || got.InFlight != 0 {
		t.Errorf("%v, %+v", err, got)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// slowBody is read when it is told to.
type slowBody struct {
	reading, read chan struct{}
	mu            sync.Mutex
	busy, closed  bool
	faults        []string
}

func (s *slowBody) Read(p []byte) (int, error) {
	s.set(&s.busy, true)
	s.reading <- struct{}{}
	<-s.read
	s.set(&s.busy, false)
	return len(p), nil
}

func (s *slowBody) set(which *bool, to bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*which = to
}

func (s *slowBody) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		s.faults = append(s.faults, "closed while it is read")
	}
	if s.closed {
		s.faults = append(s.faults, "closed twice")
	}
	s.closed = true
	return nil
}

// When the context ends after the header, the body is closed, once and while nobody
// reads it, and only then the slot is given back.
func TestBodyIsClosedWhenTheContextEnds(t *testing.T) {
	for _, reading := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := backendtest.Limited()
			b.Take()
			ctx, cancel := context.WithCancel(context.Background())
			a := sending(b)
			a.ctx, a.attempt.Slot = ctx, true
			b.Begin(&a.attempt)
			a.watch(ctx)
			body := &slowBody{reading: make(chan struct{}), read: make(chan struct{})}
			res := &http.Response{StatusCode: 200, Body: body}
			a.wrapBody(res)
			if reading {
				go func() { _, _ = res.Body.Read(make([]byte, 1)) }()
				<-body.reading
			}
			cancel()
			synctest.Wait()
			if reading {
				if b.Taken() != 1 || body.closed {
					t.Error("given up while it is read")
				}
				body.read <- struct{}{}
				synctest.Wait()
			}
			if b.Taken() != 0 || !body.closed || b.Totals().InFlight != 0 || b.Totals().ClientGone != 1 {
				t.Errorf("reading %v: %d slots are taken, closed %v, %+v", reading, b.Taken(), body.closed, b.Totals())
			}
			if _, err := res.Body.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
				t.Errorf("read after the end of the context: %v", err)
			}
			if res.Body.Close(); b.Taken() != 0 || len(body.faults) > 0 {
				t.Errorf("%d slots are taken; %v", b.Taken(), body.faults)
			}
		})
	}
}

// A tunnel lasts until it is closed, though the backend has said all it has to say.
func TestTunnelOutlivesItsReadHalf(t *testing.T) {
	b := backendtest.Limited()
	b.Take()
	a := sending(b)
	a.attempt = backend.Attempt{Slot: true, Status: http.StatusSwitchingProtocols}
	b.Begin(&a.attempt)
	res := &http.Response{StatusCode: http.StatusSwitchingProtocols, Body: new(conn)}
	a.wrapBody(res)
	if _, err := res.Body.Read(make([]byte, 1)); err != io.EOF || b.Taken() != 1 {
		t.Errorf("%v, %d slots are taken", err, b.Taken())
	}
	if res.Body.Close(); b.Taken() != 0 {
		t.Error("the slot is not given back")
	}
}
