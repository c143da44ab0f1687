// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

const upstreamPlaceholders = "http.reverse_proxy.upstream."

// requestTo returns req for another attempt, to backend b, as reverse_proxy makes it: with the
// placeholders of the upstream in header_up and in the TLS server name. They are in a replacer of
// the attempt's own, since the transport may still dial for an earlier attempt. It returns nil if
// the address is invalid.
func (p *Proxy) requestTo(req *http.Request, a *attempts, b *backend.Backend) *http.Request {
	address, err := caddy.ParseNetworkAddress(b.Upstream.Dial)
	if err != nil || address.PortRangeSize() != 1 {
		p.logger.Error("address of a backend is invalid", zap.String("backend", b.ID), zap.Error(err))
		return nil
	}
	info := reverseproxy.DialInfo{
		Upstream: &b.Upstream, Network: address.Network, Address: address.JoinHostPort(0),
		Host: address.Host, Port: strconv.FormatUint(uint64(address.StartPort), 10),
	}
	values := upstreamValues(info)
	repl := caddy.NewReplacer()
	if shared, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(func(key string) (any, bool) {
			if v, ok := values[key]; ok {
				return v, true
			}
			return shared.Get(key)
		})
		a.publish = func() { // for logs, and the routes that handle the response
			for key, v := range values {
				shared.Set(key, v)
			}
		}
	}
	ctx := context.WithValue(req.Context(), dialInfoKey, info)
	next := req.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, repl))
	to := *req.URL
	to.Host = hostTo(req.URL.Host, to.Scheme, info)
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

// upstreamValues returns the placeholders of an upstream.
func upstreamValues(info reverseproxy.DialInfo) map[string]any {
	return map[string]any{
		upstreamPlaceholders + "address":      info.String(),
		upstreamPlaceholders + "hostport":     info.Address,
		upstreamPlaceholders + "host":         info.Host,
		upstreamPlaceholders + "port":         info.Port,
		upstreamPlaceholders + "requests":     info.Upstream.Host.NumRequests(),
		upstreamPlaceholders + "max_requests": info.Upstream.MaxRequests,
		upstreamPlaceholders + "fails":        info.Upstream.Host.Fails(),
	}
}

// hostTo returns the host of the URL, as reverse_proxy's directRequest makes it. With the PROXY
// protocol it begins with the client's address, which the host of the attempt before has.
func hostTo(before, scheme string, info reverseproxy.DialInfo) string {
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
