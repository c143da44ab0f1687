// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendconn"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/tracked"
)

// watchConnections watches the connections of Caddy's `http` transport. Other transports remain as
// they are.
func (p *Proxy) watchConnections(t *reverseproxy.HTTPTransport) {
	if t != nil && t.Transport != nil {
		backendconn.Watch(t.Transport)
		p.watched = true
	}
}

// send sends the request of an attempt with context ctx, again if the backend closed the connection
// before it could receive the request. That is still the same attempt.
func (p *Proxy) send(ctx context.Context, req *http.Request, f *tracked.Exchange) (*http.Response, error) {
	if !p.watched {
		if ctx != req.Context() {
			req = req.WithContext(ctx)
		}
		return p.next.RoundTrip(req)
	}
	b := f.Backend()
	res, use, err := backendconn.Send(ctx, p.next, req, &b.KeepAlive, func(r backendconn.Resend) { p.resent(b, r) })
	f.Uses(use)
	return res, err
}

// resent counts a request that is sent again, and logs it.
func (p *Proxy) resent(b *backend.Backend, r backendconn.Resend) {
	if r.Kept == nil {
		b.CountResend()
	}
	if p.logger.Core().Enabled(zap.DebugLevel) {
		r.Log(p.logger.With(zap.String("pool", b.Pool), zap.String("backend", b.ID)))
	}
}
