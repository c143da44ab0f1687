// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backendconn

import "time"

// fin is the state of the connection when the end that the backend has sent was first seen.
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

// ended returns whether the backend has closed the connection, which the transport may not have
// noticed yet.
func (c *Conn) ended() tcpState {
	c.see()
	c.writes.Lock()
	defer c.writes.Unlock()
	return c.fin.tcp
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

// Receipt is what is known about whether a backend has received a request.
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
