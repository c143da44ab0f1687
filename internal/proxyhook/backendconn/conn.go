// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package backendconn wraps the connections of a proxy's HTTP/1.1 transport to backends. It closes
// idle ones before the backend does, and tells whether a backend can have received a request.
package backendconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/keepalive"
)

// Conn is a connection to a backend. Until the first [Conn.Begin] it only counts. HTTP/2 connections
// never begin a request, so they remain as they are. Safe for concurrent use as a [net.Conn] is.
type Conn struct {
	net.Conn
	raw syscall.RawConn // nil if the system's state of the connection is not known

	// state is the number of the request, shifted left, and the phase below. The number tells a
	// late [Request.End] from one of the current request: the transport may use a connection for
	// the next request before the end of the last one is noticed.
	state     atomic.Uint64
	readAt    atomic.Int64 // when data was last read
	idleSince atomic.Int64 // readAt of the end of the last response
	heardAt   atomic.Int64 // when an idle connection was last readable; 0 for never
	timeouts  atomic.Pointer[keepalive.Estimator]
	http2     atomic.Int32 // 1 if it is HTTP/2, -1 if not; 0 if that is not known yet

	timer   atomic.Pointer[time.Timer] // closes the connection when it is idle for too long
	waiting atomic.Bool                // timer will run; who sets it sets the timer

	reads  sync.Mutex // held while the connection is read
	writes sync.Mutex // held while it is written; guards the next fields
	sent   int64      // bytes
	fin    fin
	look   func(fd uintptr) // sets fin; made once, to save allocations

	gotEOF  atomic.Bool // reading has reached the end
	pipe    atomic.Bool // a write failed because the connection is closed on both sides
	broken  atomic.Bool // reading or writing failed in another way
	closing atomic.Bool
	closed  atomic.Bool
	once    sync.Once // for Close
}

// The phases of a Conn.
const (
	phaseNew uint64 = iota
	phaseBusy
	phaseIdle
	phaseExpired // idle for too long, and being closed
	phaseMask    = 3
)

// ErrExpired is the error of a write to a connection that was idle for too long. Nothing was sent.
var ErrExpired = errors.New("the connection was idle for too long")

// Wrap returns a Conn for a connection that was just made.
func Wrap(conn net.Conn) *Conn {
	c := &Conn{Conn: conn}
	if s, ok := conn.(syscall.Conn); ok {
		if _, tcp := conn.LocalAddr().(*net.TCPAddr); tcp {
			c.raw, _ = s.SyscallConn()
			c.look = func(fd uintptr) {
				if c.fin.tcp = tcpStateOf(fd); c.fin.tcp != tcpOther {
					c.fin.acked = c.sent - unacknowledged(fd)
				}
			}
		}
	}
	return c
}

// Of returns the Conn below a connection of a transport, or nil if there is none, or if the
// connection is HTTP/2.
func Of(conn net.Conn) *Conn {
	if c, ok := conn.(*Conn); ok {
		return c
	}
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	c, ok := t.NetConn().(*Conn)
	if !ok {
		return nil
	}
	version := c.http2.Load()
	if version == 0 {
		version = -1
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			version = 1
		}
		c.http2.Store(version)
	}
	if version > 0 {
		return nil
	}
	return c
}

// Request is the use of a connection for one request.
type Request struct {
	conn   *Conn
	number uint64 // shifted left, as in state
	sent   int64  // by earlier requests
	age    time.Duration

	waiting bool // for a connection
}

// Waiting reports that the request still waits for a connection or, when the transport has failed, that nothing was sent.
// It is false for nil.
func (r *Request) Waiting() bool { return r != nil && r.waiting }

// Begin begins a request. timeouts is what is known of the backend. If the connection was idle for
// longer than that allows, or the backend has closed it, writes to it fail with [ErrExpired].
func (c *Conn) Begin(timeouts *keepalive.Estimator) Request {
	c.timeouts.Store(timeouts)
	for {
		state := c.state.Load()
		r := Request{conn: c, number: state&^phaseMask + phaseMask + 1}
		switch state & phaseMask {
		case phaseExpired:
			r.sent = c.written()
			return r
		case phaseIdle:
			now := clock.Now()
			r.age = now - time.Duration(c.idleSince.Load())
			limit := timeouts.Limit(now)
			ended := r.age > recent && c.ended() != tcpOther
			if ended || limit > 0 && r.age > limit {
				if c.expire(state) && ended {
					timeouts.Closed(now, r.age)
				}
				continue
			}
		}
		r.sent = c.written()
		if c.state.CompareAndSwap(state, r.number|phaseBusy) {
			return r
		}
	}
}

// recent is the age of idle connections that are not examined before they are used, to save the
// time while there is much to do.
const recent = time.Millisecond

func (c *Conn) written() int64 {
	c.writes.Lock()
	defer c.writes.Unlock()
	return c.sent
}

// Expired reports whether the connection was idle for too long, so that nothing was written.
func (r *Request) Expired() bool {
	return r.conn != nil && r.conn.state.Load()&phaseMask == phaseExpired
}

// Read reads from the connection, and notes when the backend closes it while it is idle.
func (c *Conn) Read(p []byte) (int, error) {
	c.reads.Lock()
	defer c.reads.Unlock()
	n, err := c.Conn.Read(p)
	if now := int64(clock.Now()); c.state.Load()&phaseMask == phaseIdle {
		c.heardAt.Store(now)
	} else if n > 0 {
		c.readAt.Store(now)
	}
	if err == io.EOF {
		c.gotEOF.Store(true)
		if c.state.Load()&phaseMask != phaseNew {
			c.see()
		}
	} else if err != nil {
		c.noteError(err)
	}
	return n, err
}

// Write writes to the connection. If Close ends it, the error is [net.ErrClosed], not the timeout
// that see has used.
func (c *Conn) Write(p []byte) (int, error) {
	c.writes.Lock()
	defer c.writes.Unlock()
	if c.state.Load()&phaseMask == phaseExpired {
		return 0, ErrExpired
	}
	if c.closing.Load() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Write(p)
	c.sent += int64(n)
	if err != nil {
		if c.closing.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
			err = &net.OpError{Op: "write", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: net.ErrClosed}
		}
		c.noteError(err)
	}
	return n, err
}

func (c *Conn) noteError(err error) {
	switch {
	case errors.Is(err, syscall.EPIPE):
		c.pipe.Store(true)
	case !errors.Is(err, net.ErrClosed):
		c.broken.Store(true)
	}
}

// Close closes the connection.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		c.closing.Store(true)
		if t := c.timer.Load(); t != nil {
			t.Stop()
		}
		if c.state.Load()&phaseMask != phaseNew {
			c.learn(c.ended())
		}
		err = c.Conn.Close()
		c.closed.Store(true)
	})
	return err
}

// CloseWrite closes the half that is written, of a connection that was upgraded.
func (c *Conn) CloseWrite() error {
	if conn, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return errors.ErrUnsupported
}
