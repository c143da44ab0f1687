// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// dialTimeout bounds the time to connect, including the TLS handshake.
const dialTimeout = 500 * time.Millisecond

// dialer makes the connections of a client, and can close them: go-redis does not notice that the context of
// a command is cancelled while it waits for the reply. Safe for concurrent use.
type dialer struct {
	addresses []string    // tried in order; if empty, go-redis passes the address
	tls       *tls.Config // nil for none

	mu   sync.Mutex
	open map[*socket]struct{}
}

// socket is an open connection of a dialer.
type socket struct {
	net.Conn
	dialer *dialer
}

// Close implements [net.Conn].
func (s *socket) Close() error {
	s.dialer.mu.Lock()
	delete(s.dialer.open, s)
	s.dialer.mu.Unlock()
	return s.Conn.Close()
}

// SyscallConn implements [syscall.Conn], with which go-redis checks whether the server has closed an idle
// connection.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if c, ok := s.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// dial connects to the first of the dialer's addresses that accepts, or to the given address if there are none.
func (d *dialer) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if len(d.addresses) == 0 {
		return d.connect(ctx, network, address)
	}
	deadline, bounded := ctx.Deadline()
	for i, address := range d.addresses {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if bounded { // divide the time, so that the last address is tried too
			attempt, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(d.addresses)-i))
		}
		conn, err = d.connect(attempt, "tcp", address)
		cancel()
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (d *dialer) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if path, unix := strings.CutPrefix(address, unixPrefix); unix {
		network, address = "unix", path
	}
	plain, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := &socket{plain, d}
	d.mu.Lock()
	if d.open == nil {
		d.open = make(map[*socket]struct{})
	}
	d.open[s] = struct{}{}
	d.mu.Unlock()
	if d.tls == nil {
		return s, nil
	}
	config := d.tls.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(s, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return secure, nil
}

// interruptAfter calls interrupt when ctx ends. After stop has returned it does not call it any more, so that
// no connection of a later call is closed.
func (d *dialer) interruptAfter(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		d.interrupt()
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}

// interrupt closes all connections, which ends the calls that wait for replies.
func (d *dialer) interrupt() {
	d.mu.Lock()
	open := make([]*socket, 0, len(d.open))
	for s := range d.open {
		open = append(open, s)
	}
	d.mu.Unlock()
	for _, s := range open {
		_ = s.Conn.Close() // go-redis closes s once it notices
	}
}

// Interface guards
var (
	_ net.Conn     = (*socket)(nil)
	_ syscall.Conn = (*socket)(nil)
)
