// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// dial connects to the target. What reads from the connection, or writes to it,
// ends when ctx does; done must be called in any case without an error.
func (t Target) dial(ctx context.Context) (conn net.Conn, done func(), err error) {
	conn, err = t.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	// A deadline, and not Close: its error says that there was no answer.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() { stop(); conn.Close() }, nil
}

// connect is dial for who sees to the end of the connection itself.
func (t Target) connect(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, t.Network, t.Address)
}

// handshake begins TLS on a connection to the target, whose host is asked for and
// verified if cfg names no other.
func (t Target) handshake(ctx context.Context, conn net.Conn, cfg *tls.Config) (*tls.Conn, error) {
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = t.Host
	}
	client := tls.Client(conn, cfg)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return client, nil
}

// open connects to the target, with TLS unless cfg is nil, and closes the
// connection when ctx ends, if nobody has before.
func (t Target) open(ctx context.Context, cfg *tls.Config) (net.Conn, error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	if cfg == nil {
		return conn, nil
	}
	client, err := t.handshake(ctx, conn, cfg)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return client, nil
}
