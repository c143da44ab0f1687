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
	// late [Conn.End] from one of the current request: the transport may use a connection for
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

// fin is what was seen first of the end that the backend has sent.
type fin struct {
	tcp   tcpState
	acked int64 // how many of the bytes sent the backend had received then, at most
}

type tcpState int

const (
	tcpOther     tcpState = iota
	tcpCloseWait          // the backend has closed its half
	tcpClosed             // likewise, or the connection was reset
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
}

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

// ended returns whether the backend has closed the connection, which the transport may not have
// noticed yet.
func (c *Conn) ended() tcpState {
	c.see()
	c.writes.Lock()
	defer c.writes.Unlock()
	return c.fin.tcp
}

func (c *Conn) written() int64 {
	c.writes.Lock()
	defer c.writes.Unlock()
	return c.sent
}

// Expired reports whether the connection was idle for too long, so that nothing was written.
func (r *Request) Expired() bool {
	return r.conn != nil && r.conn.state.Load()&phaseMask == phaseExpired
}

// Age returns for how long the connection was idle before the request.
func (r *Request) Age() time.Duration { return r.age }

// End says that the response has ended. The connection is idle from now on, or about to be closed.
// The zero Request has no connection.
func (r *Request) End(now time.Duration) {
	c := r.conn
	if c == nil || c.state.Load() != r.number|phaseBusy {
		return
	}
	// The backend's time runs from about when the last data came. That it was passed on may
	// have taken longer.
	c.idleSince.Store(c.readAt.Load())
	if !c.state.CompareAndSwap(r.number|phaseBusy, r.number|phaseIdle) || c.closing.Load() {
		return
	}
	if limit := c.timeouts.Load().Limit(now); limit > 0 && c.waiting.CompareAndSwap(false, true) {
		c.wait(limit)
	}
}

// wait checks after d whether the connection was idle for too long. One timer serves many requests:
// it runs at most once in the time for which a connection may be idle. The caller owns waiting.
func (c *Conn) wait(d time.Duration) {
	t := c.timer.Load()
	if t == nil {
		t = time.AfterFunc(time.Hour, c.check)
		c.timer.Store(t)
	}
	t.Reset(d)
	if c.closing.Load() {
		t.Stop()
	}
}

// check closes the connection if it was idle for too long, or waits on.
func (c *Conn) check() {
	for {
		state, now := c.state.Load(), clock.Now()
		limit := c.timeouts.Load().Limit(now)
		if state&phaseMask == phaseIdle && limit > 0 && !c.closing.Load() {
			left := limit - (now - time.Duration(c.idleSince.Load()))
			if left > 0 {
				c.wait(left)
				return
			}
			if !c.expire(state) {
				continue
			}
		}
		c.waiting.Store(false)
		// A request may have ended just before, and have left the timer to this goroutine.
		if c.state.Load()&phaseMask != phaseIdle || state&phaseMask == phaseIdle || !c.waiting.CompareAndSwap(false, true) {
			return
		}
	}
}

// expire closes an idle connection, unless its state has changed.
func (c *Conn) expire(state uint64) bool {
	if !c.state.CompareAndSwap(state, state&^phaseMask|phaseExpired) {
		return false
	}
	_ = c.Close()
	return true
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

// Write writes to the connection.
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
		c.noteError(err)
	}
	return n, err
}

func (c *Conn) noteError(err error) {
	switch {
	case errors.Is(err, syscall.EPIPE):
		c.pipe.Store(true)
	case !errors.Is(err, net.ErrClosed) && !(c.closing.Load() && errors.Is(err, os.ErrDeadlineExceeded)):
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

// learn tells the estimator of a connection that the backend has closed while it was idle. With
// TLS the transport closes its side when it is told so, and may not have read the end.
func (c *Conn) learn(ended tcpState) {
	heard, since := c.heardAt.Load(), c.idleSince.Load()
	if c.state.Load()&phaseMask == phaseIdle && heard >= since && since != 0 && (c.gotEOF.Load() || ended == tcpCloseWait) {
		c.timeouts.Load().Closed(time.Duration(heard), time.Duration(heard-since))
	}
}

// see sets fin, unless it is set. A write in progress would change what was sent: it is ended first
// if the connection is being closed, and else nothing is seen now.
func (c *Conn) see() {
	if c.raw == nil {
		return
	}
	if !c.writes.TryLock() {
		if !c.closing.Load() {
			return
		}
		_ = c.Conn.SetWriteDeadline(past)
		c.writes.Lock()
	}
	defer c.writes.Unlock()
	if c.fin.tcp == tcpOther {
		_ = c.raw.Control(c.look)
	}
}

var past = time.Unix(1, 0)

// Receipt is what is known of whether a backend received a request.
type Receipt int

// The values of a Receipt.
const (
	// Possible means that the backend may have received a part of the request.
	Possible Receipt = iota
	// NotWritten means that nothing of the request was written.
	NotWritten
	// NotReceived means that the backend had closed its half before the request arrived.
	NotReceived
)

// Receipt returns whether the backend can have received the request. It is called after the
// transport has failed.
//
// That the backend has closed its half is known from a FIN that acknowledges none of the bytes of
// the request. A reset proves nothing: a process that ends after it has read a request may have the
// system reset the connection before the request is acknowledged.
func (r *Request) Receipt() Receipt {
	c := r.conn
	if c == nil || !c.closed.Load() {
		return Possible
	}
	// The connection is closed, so no read or write waits. Each has noted its error then.
	c.reads.Lock()
	defer c.reads.Unlock()
	c.writes.Lock()
	defer c.writes.Unlock()
	if c.sent == r.sent {
		return NotWritten
	}
	if c.fin.acked > r.sent {
		return Possible
	}
	switch c.fin.tcp {
	case tcpCloseWait:
		return NotReceived
	case tcpClosed:
		// After a FIN, reading gives the end, and writing EPIPE. A reset without a FIN gives
		// ECONNRESET first, to whichever is first.
		if (c.gotEOF.Load() || c.pipe.Load()) && !c.broken.Load() {
			return NotReceived
		}
	}
	return Possible
}
