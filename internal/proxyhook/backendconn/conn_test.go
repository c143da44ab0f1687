// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package backendconn

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/keepalive"
)

// dial returns a connection on which one request was answered, and the backend's end of it.
func dial(t *testing.T) (c *Conn, peer *net.TCPConn, first Request, e *keepalive.Estimator) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, peer, e = Wrap(conn), accepted.(*net.TCPConn), new(keepalive.Estimator)
	t.Cleanup(func() { _, _ = c.Close(), peer.Close() })
	first = c.Begin(e)
	write(t, c, "request")
	read(t, peer, "request")
	write(t, peer, "response")
	read(t, c, "response")
	first.End(clock.Now())
	return c, peer, first, e
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, r io.Reader, text string) {
	t.Helper()
	p := make([]byte, len(text))
	if _, err := io.ReadFull(r, p); err != nil || string(p) != text {
		t.Fatalf("read %q, %v", p, err)
	}
}

func TestReceipt(t *testing.T) {
	for name, test := range map[string]struct {
		want Receipt
		run  func(c *Conn, peer *net.TCPConn)
	}{
		"nothing was written": {NotWritten, func(c *Conn, peer *net.TCPConn) {
			peer.Close()
			_, _ = io.ReadAll(c)
		}},
		"closed before, and the end is read first": {NotReceived, func(c *Conn, peer *net.TCPConn) {
			peer.Close()
			_, _ = io.ReadAll(c)
			write(t, c, "second")
		}},
		"closed before, and the end is not read": {NotReceived, func(c *Conn, peer *net.TCPConn) {
			peer.Close()
			for { // the first write causes a reset, which a later one notices
				if _, err := io.WriteString(c, "second"); err != nil {
					return
				}
			}
		}},
		"closed before, and the end is read after the reset": {NotReceived, func(c *Conn, peer *net.TCPConn) {
			peer.Close()
			for {
				if _, err := io.WriteString(c, "second"); err != nil {
					_, _ = io.ReadAll(c)
					return
				}
			}
		}},
		"half closed before, and the rest is discarded": {NotReceived, func(c *Conn, peer *net.TCPConn) {
			_ = peer.CloseWrite()
			_, _ = io.ReadAll(c)
			write(t, c, "second")
			read(t, peer, "second")
		}},
		"closed after reading": {Possible, func(c *Conn, peer *net.TCPConn) {
			write(t, c, "second")
			read(t, peer, "second")
			peer.Close()
			_, _ = io.ReadAll(c)
		}},
		"half closed after reading": {Possible, func(c *Conn, peer *net.TCPConn) {
			write(t, c, "second")
			read(t, peer, "second")
			_ = peer.CloseWrite()
			_, _ = io.ReadAll(c)
		}},
		"reset after reading": {Possible, func(c *Conn, peer *net.TCPConn) {
			write(t, c, "second")
			read(t, peer, "second")
			_ = peer.SetLinger(0)
			peer.Close()
			_, _ = io.ReadAll(c)
		}},
		"reset after reading, noticed by a write": {Possible, func(c *Conn, peer *net.TCPConn) {
			write(t, c, "second")
			read(t, peer, "second")
			_ = peer.SetLinger(0)
			peer.Close()
			for {
				if _, err := io.WriteString(c, "more"); err != nil {
					_, _ = io.ReadAll(c) // the end, as the write has got the error
					return
				}
			}
		}},
		"closed with a part unread": {Possible, func(c *Conn, peer *net.TCPConn) {
			write(t, c, "second")
			read(t, peer, "sec")
			peer.Close()
			_, _ = io.ReadAll(c)
		}},
		"answered": {Possible, func(c *Conn, peer *net.TCPConn) {
			write(t, c, "second")
			read(t, peer, "second")
			write(t, peer, "response")
			read(t, c, "response")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, peer, _, e := dial(t)
			r := c.Begin(e)
			test.run(c, peer)
			if got := r.Receipt(); got != Possible {
				t.Errorf("before Close: %v", got)
			}
			_ = c.Close()
			if got := r.Receipt(); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestConnectionThatTheBackendHasClosedIsNotUsed(t *testing.T) {
	c, peer, _, e := dial(t)
	peer.Close()
	for c.ended() == tcpOther {
	}
	c.idleSince.Add(-int64(2 * recent))
	r := c.Begin(e)
	if _, err := io.WriteString(c, "second"); err != ErrExpired || r.Receipt() != NotWritten || !r.Expired() {
		t.Errorf("%v, %v", err, r.Receipt())
	}
}

func TestConnectionIdleForTooLongIsNotUsed(t *testing.T) {
	c, _, _, e := dial(t)
	e.Announce(clock.Now(), 4*time.Second)
	c.idleSince.Add(-int64(3*time.Second + time.Millisecond))
	r := c.Begin(e)
	if _, err := io.WriteString(c, "second"); err != ErrExpired || r.Receipt() != NotWritten {
		t.Errorf("%v, %v", err, r.Receipt())
	}
}

// The transport may use a connection again before the end of the last response is noticed.
func TestLateEndDoesNotMakeABusyConnectionIdle(t *testing.T) {
	c, _, first, e := dial(t)
	second := c.Begin(e)
	first.End(clock.Now())
	if c.state.Load()&phaseMask != phaseBusy {
		t.Error("idle")
	}
	second.End(clock.Now())
	if c.state.Load()&phaseMask != phaseIdle {
		t.Error("not idle")
	}
}

func TestIdleConnectionIsClosedBeforeTheBackendDoes(t *testing.T) {
	c, _, _, e := dial(t)
	for range 2 {
		e.Closed(clock.Now(), 40*time.Millisecond)
		<-time.After(41 * time.Millisecond)
	}
	r := c.Begin(new(keepalive.Estimator)) // begun without a limit
	c.timeouts.Store(e)
	r.End(clock.Now())
	if _, err := io.ReadAll(c); err == nil || c.state.Load()&phaseMask != phaseExpired {
		t.Errorf("not closed by this side: %v", err)
	}
}

// Ages depend on when the system runs the test, so it goes on until two agree.
func TestAgesOfClosesAreLearned(t *testing.T) {
	e := new(keepalive.Estimator)
	for e.Limit(clock.Now()) == 0 {
		c, peer, _, _ := dial(t)
		r := c.Begin(e)
		r.End(clock.Now())
		<-time.After(40 * time.Millisecond)
		peer.Close()
		_, _ = io.ReadAll(c)
		_ = c.Close()
	}
	if got := e.Limit(clock.Now()); got < 30*time.Millisecond {
		t.Errorf("limit is %v", got)
	}
}

func TestCloseByThisSideTeachesNothing(t *testing.T) {
	e := new(keepalive.Estimator)
	for range 10 {
		c, _, _, _ := dial(t)
		r := c.Begin(e)
		r.End(clock.Now())
		<-time.After(5 * time.Millisecond)
		_ = c.Close()
	}
	if got := e.Limit(clock.Now()); got != 0 {
		t.Errorf("limit is %v", got)
	}
}

// The state of a connection that is closed is looked at between writes, so a write that waits is
// ended before. The transport must not take that for a timeout, which would be the backend's fault.
func TestWriteEndedByCloseIsNoTimeout(t *testing.T) {
	c, _, _, e := dial(t)
	c.Begin(e)
	failed := make(chan error)
	go func() {
		_, err := c.Write(make([]byte, 1<<26)) // more than the buffers of a connection hold
		failed <- err
	}()
	for c.writes.TryLock() { // until the write has begun
		c.writes.Unlock()
		runtime.Gosched()
	}
	_ = c.Close()
	if err := <-failed; !errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) || c.broken.Load() {
		t.Errorf("the write ended with %v", err)
	}
}
