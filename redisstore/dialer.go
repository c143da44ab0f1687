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

// dialTimeout bounds the time for a connection, with its TLS handshake.
const dialTimeout = 500 * time.Millisecond

// dialer makes the connections of a client, and can end them: the library does not notice that the
// context of a command is cancelled while it waits for the reply. Safe for concurrent use.
type dialer struct {
	addresses []string    // tried in order; if there are none, the library has the address
	tls       *tls.Config // nil for none

	mu   sync.Mutex
	open map[*socket]struct{}
}

// socket is a connection that its dialer knows.
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

// SyscallConn implements [syscall.Conn]. The library looks there whether an idle connection has
// been closed by the server.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if c, ok := s.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// dial connects to the first address that accepts, or to the given one.
func (d *dialer) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if len(d.addresses) == 0 {
		return d.connect(ctx, network, address)
	}
	deadline, bounded := ctx.Deadline()
	for i, address := range d.addresses {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if bounded { // a share of the time, so that the last address is tried too
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

// interruptAfter interrupts when ctx ends. Once stop has returned, it does not any more, so it ends no
// connection of a later call.
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

// interrupt ends all connections, and with them the calls that wait for a reply.
func (d *dialer) interrupt() {
	d.mu.Lock()
	open := make([]*socket, 0, len(d.open))
	for s := range d.open {
		open = append(open, s)
	}
	d.mu.Unlock()
	for _, s := range open {
		_ = s.Conn.Close() // the library closes s, once it has noticed
	}
}

// Interface guards
var (
	_ net.Conn     = (*socket)(nil)
	_ syscall.Conn = (*socket)(nil)
)
