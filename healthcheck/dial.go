// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// dial connects to the target. Reads and writes on the connection end when ctx does. Without
// an error, done must be called.
func (t Target) dial(ctx context.Context) (conn net.Conn, done func(), err error) {
	conn, err = t.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	// A deadline instead of Close: its error says that there was no answer.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() { stop(); conn.Close() }, nil
}

// Dial connects to the target as the proxy does, without TLS. Reads and writes on the
// connection end when ctx does. The caller closes the connection.
func (t Target) Dial(ctx context.Context) (net.Conn, error) {
	conn, done, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &dialedConn{conn, done}, nil
}

// dialedConn is a connection that calls done when it is closed.
type dialedConn struct {
	net.Conn
	done func()
}

// Close closes the connection.
func (c *dialedConn) Close() error {
	c.done()
	return nil
}

// connect is dial without a context for the connection. A check with its own port does not send the
// PROXY protocol, as in HAProxy.
func (t Target) connect(ctx context.Context) (conn net.Conn, err error) {
	var ips []string
	if t.backend != nil {
		ips = t.backend.IPs()
	}
	if len(ips) == 0 {
		return t.transport.Dial(ctx, t.Network, t.Address, !t.ownPort)
	}
	for i, ip := range ips {
		if conn, err = t.try(ctx, net.JoinHostPort(ip, t.port()), len(ips)-i); err == nil {
			if !t.ownPort {
				t.backend.Reached(ip)
			}
			return conn, nil
		}
	}
	return nil, err
}

// try connects to one of several addresses. Each gets an equal share of the remaining time.
func (t Target) try(ctx context.Context, address string, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		part, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
		ctx = part
	}
	return t.transport.Dial(ctx, t.Network, address, !t.ownPort)
}

// open connects to the target, with TLS unless cfg is nil, and closes the connection when ctx
// ends.
func (t Target) open(ctx context.Context, cfg *tls.Config) (net.Conn, error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	if cfg == nil {
		return conn, nil
	}
	client, err := handshake(ctx, conn, cfg)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return client, nil
}

// ended returns the error of ctx instead of one that is due to the closing of the connection at its end; see open.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		return ctx.Err()
	}
	return err
}

// handshake makes a TLS handshake on a connection.
func handshake(ctx context.Context, conn net.Conn, cfg *tls.Config) (*tls.Conn, error) {
	client := tls.Client(conn, cfg)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return client, nil
}

// secure reports whether a check with these TLS options uses TLS for the target.
func (t Target) secure(own *TLS) bool {
	switch {
	case own != nil:
		return !own.Off
	case t.Scheme == "https" && t.transport == nil:
		return true
	case t.Scheme == "https", t.Scheme == "":
		return t.transport.TLS(t.port())
	}
	return false
}

// tlsConfig returns the TLS configuration for the target: the options of the check and, where
// they are unset, those of the proxy. The protocols are offered in ALPN.
func (t Target) tlsConfig(own *TLS, protocols ...string) *tls.Config {
	cfg := t.transport.TLSConfig(t.Host, t.port())
	own.apply(cfg)
	if cfg.ServerName == "" {
		cfg.ServerName = t.Host
	}
	cfg.NextProtos = protocols
	return cfg
}

// port returns the port of the target, or "".
func (t Target) port() string {
	_, port, _ := net.SplitHostPort(t.Address)
	return port
}
