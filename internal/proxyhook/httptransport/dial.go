// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httptransport

import (
	"context"
	"errors"
	"fmt"
	weakrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/pires/go-proxyproto"
)

// NewResolver returns a resolver that queries a random one of the configured servers each time, or the system's
// resolver without configured servers.
func NewResolver(cfg *reverseproxy.UpstreamResolver, timeout, fallbackDelay caddy.Duration) (*net.Resolver, error) {
	if cfg == nil || len(cfg.Addresses) == 0 {
		return net.DefaultResolver, nil
	}
	var servers []caddy.NetworkAddress
	for _, text := range cfg.Addresses {
		addr, err := caddy.ParseNetworkAddressWithDefaults(text, "udp", 53)
		if err != nil {
			return nil, err
		}
		if addr.PortRangeSize() != 1 {
			return nil, fmt.Errorf("resolver %s must be one address", text)
		}
		servers = append(servers, addr)
	}
	dialer := &net.Dialer{Timeout: time.Duration(timeout), FallbackDelay: time.Duration(fallbackDelay)}
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			server := servers[weakrand.IntN(len(servers))]
			if server.Network != "udp" { // udp falls back to tcp for large answers
				network = server.Network
			}
			return dialer.DialContext(ctx, network, server.JoinHostPort(0))
		},
	}, nil
}

// useDialOptions builds the dialer. Caddy's own dialer is not suitable: its errors hide the cause
// of a failed dial, and its PROXY protocol header needs a client, which a probe does not have.
func (t *Transport) useDialOptions() (err error) {
	h := t.http
	t.dialer = &net.Dialer{FallbackDelay: time.Duration(h.FallbackDelay)}
	if h.Resolver != nil {
		if t.dialer.Resolver, err = NewResolver(h.Resolver, h.DialTimeout, h.FallbackDelay); err != nil {
			return err
		}
	}
	if h.LocalAddress == "" {
		return nil
	}
	local, err := caddy.ParseNetworkAddressWithDefaults(h.LocalAddress, "tcp", 0)
	if err != nil {
		return err
	}
	switch local.Network {
	case "tcp", "tcp4", "tcp6":
		t.dialer.LocalAddr, err = net.ResolveTCPAddr(local.Network, local.JoinHostPort(0))
	case "unix", "unixgram", "unixpacket":
		t.dialer.LocalAddr, err = net.ResolveUnixAddr(local.Network, local.JoinHostPort(0))
	default:
		err = errors.New("local_address must be a TCP address or a unix socket")
	}
	return err
}

// handshakeTimeout is that of net/http's default transport.
const handshakeTimeout = 10 * time.Second

// LimitHandshakes limits the TLS handshakes of a transport that has no handshake_timeout; rt may be of any kind.
// net/http goes on with a handshake after the end of its request, so one with a backend that accepts connections and
// does not speak TLS would keep its connection forever.
func LimitHandshakes(rt http.RoundTripper) {
	if t := Of(rt); t != nil && t.Transport != nil && t.Transport.TLSHandshakeTimeout == 0 {
		t.Transport.TLSHandshakeTimeout = handshakeTimeout
	}
}

// Dial connects to a backend. With announced, it sends the PROXY protocol header that the
// transport is configured for, if any.
func (t *Transport) Dial(ctx context.Context, network, address string, announced bool) (net.Conn, error) {
	if t == nil || t.http == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	conn, err := t.connect(ctx, network, address)
	if err != nil || !announced || t.http.ProxyProtocol == "" {
		return conn, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(deadline)
	}
	header, err := proxyHeader(t.http.ProxyProtocol, conn)
	if err == nil {
		_, err = conn.Write(header)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("sending the PROXY protocol: %w", err)
	}
	_ = conn.SetWriteDeadline(time.Time{})
	return conn, nil
}

// connect dials within the transport's dial_timeout.
func (t *Transport) connect(ctx context.Context, network, address string) (net.Conn, error) {
	most := t.DialTimeout()
	if deadline, ok := ctx.Deadline(); most <= 0 || ok && time.Until(deadline) <= most {
		return t.dialer.DialContext(ctx, network, address)
	}
	short, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	conn, err := t.dialer.DialContext(short, network, address)
	if err != nil && short.Err() == context.DeadlineExceeded {
		return nil, fmt.Errorf("no connection to %s within the transport's dial_timeout of %v", address, most)
	}
	return conn, err
}

// proxyHeader returns the PROXY protocol header of a connection that the proxy makes for itself.
// In version 2 that is the LOCAL command.
func proxyHeader(version string, conn net.Conn) ([]byte, error) {
	if version == "v2" {
		return (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}).Format()
	}
	return proxyproto.HeaderProxyFromAddrs(1, conn.LocalAddr(), conn.RemoteAddr()).Format()
}
