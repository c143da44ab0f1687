// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package copies makes copies of the requests of a proxy, for a mirror.
package copies

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/mirror"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/dialinfo"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

// Maker makes the copies of the requests of one proxy. Read-only; safe for concurrent use.
type Maker struct {
	mirror    *mirror.Mirror
	to        []reverseproxy.DialInfo
	transport http.RoundTripper // that of the proxy, without what counts for backends
	named     []string          // placeholders in the TLS server name
}

// clientAddress is the request variable that the PROXY protocol needs.
const clientAddress = "reverse_proxy.proxy_protocol_info"

var placeholderIn = regexp.MustCompile(`\{([^{}]+)\}`)

// New returns a Maker for a proxy with the given transport, a module with the given name. It returns an error for a
// transport that uses more of a request than is copied.
func New(m *mirror.Mirror, transport http.RoundTripper, name string) (*Maker, error) {
	if name == "fastcgi" {
		return nil, errors.New("mirror needs a transport that sends HTTP, and fastcgi does not; write `transport http`, or remove `mirror` from the pool")
	}
	c := &Maker{mirror: m, transport: transport}
	for _, address := range m.Policy().To {
		info, err := dialinfo.Of(&reverseproxy.Upstream{Dial: address, Host: new(reverseproxy.Host)})
		if err != nil {
			return nil, err
		}
		c.to = append(c.to, info)
	}
	if t := httptransport.Of(transport); t != nil && t.TLS != nil {
		for _, found := range placeholderIn.FindAllStringSubmatch(t.TLS.ServerName, -1) {
			c.named = append(c.named, found[1])
		}
	}
	return c, nil
}

// Begin is [mirror.Mirror.Begin].
func (c *Maker) Begin(req *http.Request, received http.Header) *mirror.Copy {
	return c.mirror.Begin(req, received)
}

// Next returns the address whose turn it is.
func (c *Maker) Next() reverseproxy.DialInfo { return c.to[c.mirror.Next()] }

// Send sets the request of a copy: like, without its body, to an address. The copy shares nothing with the request
// that would keep its memory, or that the request's goroutine writes to. repl has the placeholders of the copy.
func (c *Maker) Send(a *mirror.Copy, like *http.Request, to reverseproxy.DialInfo, repl *caddy.Replacer) {
	own := caddy.NewReplacer()
	for _, name := range c.named {
		if v, ok := repl.Get(name); ok {
			own.Set(name, v)
		}
	}
	known := make(map[string]any) // a transport may write to it
	if client := caddyhttp.GetVar(like.Context(), clientAddress); client != nil {
		known[clientAddress] = client
	}
	ctx := dialinfo.With(c.mirror.Context(), to)
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, own)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, known)
	out := &http.Request{
		Method: like.Method, URL: like.URL, Host: like.Host, Header: like.Header.Clone(),
		Proto: like.Proto, ProtoMajor: like.ProtoMajor, ProtoMinor: like.ProtoMinor,
	}
	c.mirror.Prepare(out.Header)
	a.Send(out.WithContext(ctx), c.transport)
}
