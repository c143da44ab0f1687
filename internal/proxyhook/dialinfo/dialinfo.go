// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package dialinfo makes what reverse_proxy tells its transport of the upstream: in the context of a
// request, in its URL and in placeholders.
package dialinfo

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// key is the key of Caddy's DialInfo, which has the address to dial. The request's URL, and with it
// Host and the TLS server name, do not depend on it.
const key caddy.CtxKey = "reverse_proxy.dial_info"

const placeholders = "http.reverse_proxy.upstream."

// Of returns the DialInfo of an upstream, or an error if its address is not one of a single port.
func Of(u *reverseproxy.Upstream) (info reverseproxy.DialInfo, err error) {
	address, err := caddy.ParseNetworkAddress(u.Dial)
	if err == nil && address.PortRangeSize() != 1 {
		err = errors.New("the address has several ports")
	}
	return reverseproxy.DialInfo{
		Upstream: u, Network: address.Network, Address: address.JoinHostPort(0),
		Host: address.Host, Port: strconv.FormatUint(uint64(address.StartPort), 10),
	}, err
}

// With returns a context with the DialInfo.
func With(ctx context.Context, info reverseproxy.DialInfo) context.Context {
	return context.WithValue(ctx, key, info)
}

// Placeholders returns the placeholders of an upstream.
func Placeholders(info reverseproxy.DialInfo) map[string]any {
	return map[string]any{
		placeholders + "address":      info.String(),
		placeholders + "hostport":     info.Address,
		placeholders + "host":         info.Host,
		placeholders + "port":         info.Port,
		placeholders + "requests":     info.Upstream.Host.NumRequests(),
		placeholders + "max_requests": info.Upstream.MaxRequests,
		placeholders + "fails":        info.Upstream.Host.Fails(),
	}
}

// Host returns the host of the URL, as reverse_proxy's directRequest sets it. With the PROXY protocol it begins
// with the address of the client, which is taken from before, the host of the previous attempt.
func Host(before, scheme string, info reverseproxy.DialInfo) string {
	host := info.Address
	if scheme == "http" && info.Port == "80" || scheme == "https" && info.Port == "443" {
		host = info.Host
	}
	if text, err := url.QueryUnescape(before); err == nil {
		if client, _, ok := strings.Cut(text, "->"); ok {
			return url.QueryEscape(client + "->" + host)
		}
	}
	return host
}

// WithIP returns the context of a request with the IP address to dial, if the backend's host name
// was resolved in advance.
func WithIP(ctx context.Context, b *backend.Backend) (_ context.Context, ip string) {
	if ip = b.IP(); ip == "" {
		return ctx, ""
	}
	info, _ := reverseproxy.GetDialInfo(ctx)
	info.Address = net.JoinHostPort(ip, info.Port)
	return With(ctx, info), ip
}

// Failed makes the next attempt dial another address, if err is a failure to connect.
func Failed(b *backend.Backend, ip string, err error) {
	if _, ok := errors.AsType[reverseproxy.DialError](err); ok && ip != "" {
		b.Unreached(ip)
	}
}

// Clip limits the length of an error that contains text of a backend, for the log and the client.
// Dial errors contain none, and Caddy needs their type.
func Clip(err error) error {
	if _, ok := errors.AsType[reverseproxy.DialError](err); ok {
		return err
	}
	return clip.Error(err)
}

// ErrTimeout is [retry.ErrTimeout] of an attempt that got no connection, so that nothing was sent.
var ErrTimeout = reverseproxy.NewDialError(errors.New("no connection within the timeout of the attempt: i/o timeout"))

// NoDialError returns a dial error as one that Caddy does not retry.
func NoDialError(err reverseproxy.DialError) error {
	if err == ErrTimeout {
		return retry.ErrTimeout
	}
	return errors.New(err.Error())
}
