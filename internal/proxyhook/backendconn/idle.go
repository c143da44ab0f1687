// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backendconn

import (
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// End records that the response has ended. The connection is idle from now on, or about to be closed.
// A nil Request, and the zero value, have no connection.
func (r *Request) End(now time.Duration) {
	if r == nil || r.conn == nil || r.conn.state.Load() != r.number|phaseBusy {
		return
	}
	c := r.conn
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

// learn reports to the estimator that the backend has closed an idle connection. With TLS, the transport closes its
// side when it receives the alert, possibly before the end was read.
func (c *Conn) learn(ended tcpState) {
	heard, since := c.heardAt.Load(), c.idleSince.Load()
	if c.state.Load()&phaseMask == phaseIdle && heard >= since && since != 0 && (c.gotEOF.Load() || ended == tcpCloseWait) {
		c.timeouts.Load().Closed(time.Duration(heard), time.Duration(heard-since))
	}
}
