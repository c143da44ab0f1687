// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"crypto/tls"
	"net"
)

// dial connects to the target. What reads from the connection, or writes to it,
// ends when ctx does; done must be called in any case without an error.
func (t Target) dial(ctx context.Context) (conn net.Conn, done func(), err error) {
	conn, err = new(net.Dialer).DialContext(ctx, t.Network, t.Address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() { stop(); conn.Close() }, nil
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
