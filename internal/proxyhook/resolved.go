// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// dialInfoKey is the key of Caddy's DialInfo, which has the address to dial. The request's URL,
// and with it Host and the TLS server name, do not depend on it.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// withIP returns the request with the IP address to dial, if the backend's host name was resolved
// in advance.
func withIP(req *http.Request, b *backend.Backend) (_ *http.Request, ip string) {
	if ip = b.IP(); ip == "" {
		return req, ""
	}
	info, _ := reverseproxy.GetDialInfo(req.Context())
	info.Address = net.JoinHostPort(ip, info.Port)
	return req.WithContext(context.WithValue(req.Context(), dialInfoKey, info)), ip
}

// dialFailed makes the next attempt dial another address, if the dial was what failed.
func dialFailed(b *backend.Backend, ip string, err error) {
	if _, ok := errors.AsType[reverseproxy.DialError](err); ok && ip != "" {
		b.Unreached(ip)
	}
}
