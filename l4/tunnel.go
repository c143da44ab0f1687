// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// earlyEnd is the time after connecting within which it counts as a failure if a backend closes a connection
// before it has sent anything. A port forwarder does that at once if no server listens on its target.
const earlyEnd = time.Second

// errEarly is the error of an attempt that fails by earlyEnd. It counts as a reset.
var errEarly = fmt.Errorf("the backend ended the connection at once, before it sent anything: %w", io.ErrUnexpectedEOF)

// tunnel is the pair of connections to a client and its backend. It begins with the attempt to connect, and
// counts the outcome of that attempt once. Two goroutines each copy in one direction; timers and the pool may
// close the tunnel at any time.
type tunnel struct {
	handler *Handler
	backend *backend.Backend
	attempt backend.Attempt
	try     int
	stream  *backend.Stream // nil unless the pool closes connections when their backend goes down
	client  *layer4.Connection
	server  net.Conn // set before run

	activity
	answered    atomic.Bool // the backend has sent something
	clientEnded atomic.Bool // the client has closed its side, or reading or writing it has failed
	early       atomic.Bool // the backend has closed the connection within earlyEnd

	mu      sync.Mutex // guards the fields below
	cause   string     // why Ballast closed the tunnel; empty if a side has closed it
	closed  bool
	running bool
}

// The causes for which Ballast closes tunnels, in logs.
const (
	causeIdle     = "idle timeout"
	causeLifetime = "maximum lifetime"
	causeDown     = "backend down"
)

// run copies in both directions until both have ended.
func (t *tunnel) run() {
	defer t.end(nil)
	if !t.begin() {
		_ = t.server.Close()
		return
	}
	defer t.close("")
	if limit := time.Duration(t.handler.MaxLifetime); limit > 0 {
		defer time.AfterFunc(limit, func() { t.close(causeLifetime) }).Stop()
	}
	t.activity.start(time.Duration(t.handler.IdleTimeout), func() { t.close(causeIdle) })
	defer t.activity.stop()
	up := &direction{tunnel: t, client: t.client, dst: t.server, count: t.backend.Traffic.Send}
	down := &direction{tunnel: t, fromServer: true, dst: t.client, count: t.backend.Traffic.Receive}
	up.src, down.src = t.client, t.server
	if conn, ok := raw(t.client.Conn); ok {
		up.src, down.dst = conn, conn
	}
	var wg sync.WaitGroup
	wg.Go(func() { t.copy(up) })
	t.copy(down)
	wg.Wait()
}

// copy copies in one direction. It closes the tunnel unless the source has closed its half, and that was
// passed on.
func (t *tunnel) copy(d *direction) {
	defer panics.Recover("copying the bytes of a connection")
	half := false
	defer func() {
		if !half {
			t.close("")
		}
	}()
	half = d.copy()
}

// begin marks the tunnel as running: from then on, close closes its connections. It returns false if close was
// called before.
func (t *tunnel) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = true
	return !t.closed
}

// close closes both connections, once. The cause is for logs; empty if a side has ended the tunnel.
func (t *tunnel) close(cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed, t.cause = true, cause
	if t.running {
		_ = t.client.Close()
		_ = t.server.Close()
	}
}

// closeOnDown closes the tunnel when the backend has gone down. A nil cause means that the stream was left,
// and does nothing.
func (t *tunnel) closeOnDown(cause error) {
	if cause != nil {
		t.close(causeDown)
	}
}

// halfClose closes the writing half of dst, since the other side has ended. It returns false if dst cannot
// close one half alone.
func (t *tunnel) halfClose(dst net.Conn) bool {
	half, ok := closeWriter(dst)
	if !ok || half.CloseWrite() != nil {
		return false
	}
	t.activity.limit(time.Duration(t.handler.HalfClosedTimeout))
	return true
}

// serverEnded records that the backend has ended the connection, and whether that was within earlyEnd.
func (t *tunnel) serverEnded() {
	connected := t.attempt.Start + t.attempt.FirstByte
	if !t.answered.Load() && !t.clientEnded.Load() && clock.Now()-connected < earlyEnd {
		t.early.Store(true)
	}
}

// end counts the outcome of the attempt. err is the error of connecting; nil if the backend was connected.
func (t *tunnel) end(err error) {
	now, lasted := clock.Now(), time.Duration(0)
	t.mu.Lock()
	cause := t.cause
	t.mu.Unlock()
	if t.attempt.Status != 0 {
		lasted = now - t.attempt.Start - t.attempt.FirstByte
		switch {
		case cause == causeDown:
			t.attempt.Exempt, err = outlier.Closed, backend.ErrClosed
		case t.early.Load():
			t.attempt.Early, err = true, errEarly
		}
		t.backend.Traffic.End(lasted, t.attempt.Early)
		if entry := t.handler.logger.Check(zapcore.DebugLevel, "the connection has ended"); entry != nil {
			entry.Write(zap.String("pool", t.handler.Pool), zap.String("backend", t.backend.ID), zap.Stringer("client", t.client.RemoteAddr()),
				zap.Int("try", t.try), zap.Duration("connect", t.attempt.FirstByte), zap.Duration("duration", lasted), zap.String("cause", cause), zap.Error(err))
		}
	}
	if t.stream != nil {
		t.backend.LeaveStream(t.stream)
	}
	t.backend.End(&t.attempt, now, err, false)
}
