// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() {
	for _, id := range []caddy.ModuleID{guestTransport, guestPolicy, guestBreaker, guestSource} {
		caddy.RegisterModule(&guest{id: id})
	}
}

const (
	guestTransport caddy.ModuleID = "http.reverse_proxy.transport.contract"
	guestPolicy    caddy.ModuleID = "http.reverse_proxy.selection_policies.contract"
	guestBreaker   caddy.ModuleID = "http.reverse_proxy.circuit_breakers.contract"
	guestSource    caddy.ModuleID = "http.reverse_proxy.upstreams.contract"
)

// The parts of a configuration that make guests the modules of a proxy.
const (
	withTransport = `"transport":{"protocol":"contract"}`
	withPolicy    = `"load_balancing":{"retries":2,"selection_policy":{"policy":"contract"}}`
	withBreaker   = `"circuit_breaker":{"type":"contract"}`
	withSource    = `"dynamic_upstreams":{"source":"contract"}`
)

// behavior is what the guests of a test do. Functions that are nil do the least.
type behavior struct {
	provision func(*guest, caddy.Context)
	roundTrip func(*http.Request) (*http.Response, error)
	pick      func(reverseproxy.UpstreamPool, *http.Request) *reverseproxy.Upstream
	list      func() []*reverseproxy.Upstream
}

// guest is a module of reverse_proxy that does what its test says. The contract tests use it
// instead of Ballast's modules, so that they fail for no other reason than a change of Caddy.
type guest struct {
	id caddy.ModuleID
	do behavior
}

var guestBehavior behavior // of the guests that are loaded next

func (g *guest) CaddyModule() caddy.ModuleInfo {
	id := g.id
	return caddy.ModuleInfo{ID: id, New: func() caddy.Module { return &guest{id, guestBehavior} }}
}

func (g *guest) Provision(ctx caddy.Context) error {
	if g.do.provision != nil {
		g.do.provision(g, ctx)
	}
	return nil
}

func (g *guest) RoundTrip(req *http.Request) (*http.Response, error) {
	if g.do.roundTrip == nil {
		return answer(req, http.NoBody), nil
	}
	return g.do.roundTrip(req)
}

func (g *guest) Select(list reverseproxy.UpstreamPool, req *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	switch {
	case g.do.pick != nil:
		return g.do.pick(list, req)
	case len(list) == 0:
		return nil
	}
	return list[0]
}

func (g *guest) OK() bool { return true }

func (g *guest) RecordMetric(int, time.Duration) {}

func (g *guest) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	if g.do.list == nil {
		return nil, nil
	}
	return g.do.list(), nil
}

// host loads a proxy with guests that behave like that.
func host(t *testing.T, do behavior, config string) *lbtest.Proxy {
	t.Helper()
	guestBehavior = do
	return lbtest.NewProxy(t, "{"+config+"}", nil)
}

// proxyOf returns the proxy that a module of this context is a guest of.
func proxyOf(ctx caddy.Context) *reverseproxy.Handler {
	lineage := ctx.Modules()
	h, _ := lineage[len(lineage)-2].(*reverseproxy.Handler)
	return h
}

// answer returns a response with status 200.
func answer(req *http.Request, body io.ReadCloser) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: make(http.Header), Body: body,
	}
}

var errBroken = errors.New("broken")

// failFirst returns a transport that refuses the first of each two attempts, and tells of each.
func failFirst(tell func(*http.Request)) func(*http.Request) (*http.Response, error) {
	n := 0
	return func(req *http.Request) (*http.Response, error) {
		tell(req)
		if n++; n%2 == 1 {
			return nil, reverseproxy.NewDialError(errBroken)
		}
		return answer(req, http.NoBody), nil
	}
}

var (
	_ http.RoundTripper           = (*guest)(nil)
	_ reverseproxy.Selector       = (*guest)(nil)
	_ reverseproxy.CircuitBreaker = (*guest)(nil)
	_ reverseproxy.UpstreamSource = (*guest)(nil)
	_ caddy.Provisioner           = (*guest)(nil)
)
