// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/dialinfo"
)

// requestTo returns req for another attempt, to backend b, as reverse_proxy makes it: with the
// placeholders of the upstream in header_up and in the TLS server name. They are in a replacer of
// the attempt's own, since the transport may still dial for an earlier attempt. It returns nil if
// the address is invalid.
func (p *Proxy) requestTo(req *http.Request, a *attempts, b *backend.Backend) *http.Request {
	info, err := dialinfo.Of(b)
	if err != nil {
		p.logger.Error("address of a backend is invalid", zap.String("backend", b.ID), zap.Error(err))
		return nil
	}
	values := dialinfo.Placeholders(info)
	repl := caddy.NewReplacer()
	if shared, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(func(key string) (any, bool) {
			if v, ok := values[key]; ok {
				return v, true
			}
			if strings.HasPrefix(key, placeholders) {
				return a.source.placeholder(key)
			}
			return shared.Get(key)
		})
		a.publish = func() { // for logs, and the routes that handle the response
			for key, v := range values {
				shared.Set(key, v)
			}
		}
	}
	ctx := dialinfo.With(req.Context(), info)
	next := req.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, repl))
	to := *req.URL
	to.Host = dialinfo.Host(req.URL.Host, to.Scheme, info)
	next.URL = &to
	transportOps, ops := p.transportOps, p.handler.Headers
	if transportOps != nil || ops != nil && ops.Request != nil {
		next.Header, next.Host = a.original.header.Clone(), a.original.host
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
