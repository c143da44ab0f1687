// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// RoundTrip sends the request to the backend that was selected, remembers
// that it was tried, and counts what becomes of it.
func (p *Proxy) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	vars := vars(ctx)
	b := p.selected(ctx, vars)
	if b == nil {
		return p.next.RoundTrip(req)
	}
	a := attemptsFor(req, vars)
	a.try(ctx, b)
	if p.foreign != nil {
		Announce(req, b, p.foreign, len(a.tried))
	}
	start := time.Now()
	b.Begin()
	res, err := p.next.RoundTrip(req)
	firstByte := time.Since(start)
	if err != nil {
		AnnounceNone(req, reasonFailed)
		b.End(backend.Outcome{Err: err, ClientGone: ctx.Err() != nil, FirstByte: firstByte})
		return res, err
	}
	if res.Body == nil || res.Body == http.NoBody {
		b.End(backend.Outcome{Status: res.StatusCode, FirstByte: firstByte, LastByte: firstByte})
		return res, nil
	}
	tracked := a.newBody()
	tracked.backend, tracked.ctx = b, ctx
	tracked.start, tracked.firstByte = start, firstByte
	tracked.follow(res)
	return res, nil
}

// selected returns the backend that a request goes to. It is nil for the health
// checks that Caddy itself sends through this transport: they are told by the
// absence of request variables.
func (p *Proxy) selected(ctx context.Context, vars map[string]any) *backend.Backend {
	if p.finder == nil || vars == nil {
		return nil
	}
	info, ok := reverseproxy.GetDialInfo(ctx)
	if !ok || info.Upstream == nil {
		return nil
	}
	return p.finder.Find(info.Upstream.Dial)
}

// The wrapped transport's optional interfaces, forwarded; one that it lacks
// answers as if this wrapper lacked it too.

// TLSEnabled implements [reverseproxy.TLSTransport].
func (p *Proxy) TLSEnabled() bool {
	t, ok := p.next.(reverseproxy.TLSTransport)
	return ok && t.TLSEnabled()
}

// EnableTLS implements [reverseproxy.TLSTransport].
func (p *Proxy) EnableTLS(base *reverseproxy.TLSConfig) error {
	if t, ok := p.next.(reverseproxy.TLSTransport); ok {
		return t.EnableTLS(base)
	}
	return fmt.Errorf("the backends are https:// but transport %s has no TLS; write them without https://, or use `transport http`", nameOf(p.next))
}

// EnableH2C implements [reverseproxy.H2CTransport].
func (p *Proxy) EnableH2C() error {
	if t, ok := p.next.(reverseproxy.H2CTransport); ok {
		return t.EnableH2C()
	}
	return fmt.Errorf("transport %s has no h2c", nameOf(p.next))
}

// DefaultBufferSizes implements [reverseproxy.BufferedTransport].
func (p *Proxy) DefaultBufferSizes() (request, response int64) {
	if t, ok := p.next.(reverseproxy.BufferedTransport); ok {
		return t.DefaultBufferSizes()
	}
	return 0, 0
}

// ProxyProtocolEnabled implements [reverseproxy.ProxyProtocolTransport].
func (p *Proxy) ProxyProtocolEnabled() bool {
	t, ok := p.next.(reverseproxy.ProxyProtocolTransport)
	return ok && t.ProxyProtocolEnabled()
}

// OverrideHealthCheckScheme implements
// [reverseproxy.HealthCheckSchemeOverriderTransport].
func (p *Proxy) OverrideHealthCheckScheme(base *url.URL, port string) {
	if t, ok := p.next.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		t.OverrideHealthCheckScheme(base, port)
	}
}

// RequestHeaderOps implements [reverseproxy.RequestHeaderOpsTransport].
func (p *Proxy) RequestHeaderOps() *headers.HeaderOps {
	if t, ok := p.next.(reverseproxy.RequestHeaderOpsTransport); ok {
		return t.RequestHeaderOps()
	}
	return nil
}

// RequiresContentLength implements
// [reverseproxy.ContentLengthRequiredTransport].
func (p *Proxy) RequiresContentLength() bool {
	t, ok := p.next.(reverseproxy.ContentLengthRequiredTransport)
	return ok && t.RequiresContentLength()
}

// Interface guards
var (
	_ http.RoundTripper                                = (*Proxy)(nil)
	_ reverseproxy.TLSTransport                        = (*Proxy)(nil)
	_ reverseproxy.H2CTransport                        = (*Proxy)(nil)
	_ reverseproxy.BufferedTransport                   = (*Proxy)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Proxy)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Proxy)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Proxy)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*Proxy)(nil)
)
