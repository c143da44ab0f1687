// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/dialinfo"
)

// requestTo returns req for another attempt, to backend b. It returns nil if the address is invalid.
func (p *Proxy) requestTo(req *http.Request, a *attempts, b *backend.Backend) *http.Request {
	info, err := dialinfo.Of(&b.Upstream)
	if err != nil {
		p.logger.Error("address of a backend is invalid", zap.String("backend", b.ID), zap.Error(err))
		return nil
	}
	values := dialinfo.Placeholders(info)
	shared, repl := replacerFor(req, a, values)
	if shared != nil {
		a.publish = func() { // for logs, and the routes that handle the response
			for key, v := range values {
				shared.Set(key, v)
			}
		}
	}
	return p.addressed(req, a.original, info, repl)
}

// replacerFor returns the replacer of a request, which may be nil, and one for another upstream, since
// the transport may still dial for an earlier attempt. values are the placeholders of the upstream.
func replacerFor(req *http.Request, a *attempts, values map[string]any) (shared, repl *caddy.Replacer) {
	repl = caddy.NewReplacer()
	shared, _ = req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if shared != nil {
		repl.Map(func(key string) (any, bool) {
			if v, ok := values[key]; ok {
				return v, true
			}
			if strings.HasPrefix(key, placeholders) {
				return a.source.placeholder(key)
			}
			return shared.Get(key)
		})
	}
	return shared, repl
}

// addressed returns req for another upstream, as reverse_proxy makes it: with the placeholders of the
// upstream in header_up and in the TLS server name.
func (p *Proxy) addressed(req *http.Request, o *original, info reverseproxy.DialInfo, repl *caddy.Replacer) *http.Request {
	ctx := dialinfo.With(req.Context(), info)
	next := req.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, repl))
	to := *req.URL
	to.Host = dialinfo.Host(req.URL.Host, to.Scheme, info)
	next.URL = &to
	transportOps, ops := p.transportOps, p.handler.Headers
	if transportOps != nil || ops != nil && ops.Request != nil {
		next.Header, next.Host = o.header.Clone(), o.host
		if transportOps != nil {
			transportOps.ApplyToRequest(next)
		}
		if ops != nil && ops.Request != nil {
			ops.Request.ApplyToRequest(next)
		}
	}
	if p.rewrite != nil {
		next = p.rewrite(next)
	}
	return next
}
