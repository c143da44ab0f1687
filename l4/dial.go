// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/mholt/caddy-l4/layer4"
	"github.com/pires/go-proxyproto"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/dialinfo"
)

// dial connects to a backend for a client, sends the PROXY header and makes the TLS handshake.
func (h *Handler) dial(ctx context.Context, client *layer4.Connection, b *backend.Backend) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(h.ConnectTimeout))
	defer cancel()
	info, err := dialinfo.Of(&b.Upstream)
	if err != nil {
		return nil, err
	}
	ip := b.IP() // an address of the host name; empty if the dialer resolves it
	if ip != "" {
		info.Address = net.JoinHostPort(ip, info.Port)
	}
	conn, err := h.dialer.DialContext(ctx, info.Network, info.Address)
	if err != nil {
		if ip != "" {
			b.Unreached(ip)
		}
		return nil, err
	}
	if conn, err = h.prepare(ctx, conn, client, info.Host); err != nil {
		return nil, clip.Error(err) // it may have all names of the backend's certificate
	}
	return conn, nil
}

// prepare sends the PROXY header and makes the TLS handshake. It closes the connection if that fails.
func (h *Handler) prepare(ctx context.Context, conn net.Conn, client *layer4.Connection, host string) (ready net.Conn, err error) {
	if h.ProxyProtocol == "" && h.tls == nil {
		return conn, nil
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if h.ProxyProtocol != "" {
		if _, err := h.proxyHeader(client).WriteTo(conn); err != nil {
			return nil, err
		}
	}
	ready = conn
	if h.tls != nil {
		cfg := h.tls
		if cfg.ServerName == "" {
			cfg = cfg.Clone()
			cfg.ServerName = host
		}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		ready = secure
	}
	return ready, conn.SetDeadline(time.Time{})
}

// proxyHeader returns the PROXY header of a client. If caddy-l4 has read a PROXY header from the client, it has
// the addresses of that one.
func (h *Handler) proxyHeader(client *layer4.Connection) *proxyproto.Header {
	version := byte(1)
	if h.ProxyProtocol == "v2" {
		version = 2
	}
	header := proxyproto.HeaderProxyFromAddrs(version, client.RemoteAddr(), client.LocalAddr())
	header.Command = proxyproto.PROXY
	return header
}
