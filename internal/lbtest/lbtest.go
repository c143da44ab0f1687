// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package lbtest runs Caddy's real reverse_proxy handler without sockets, so that load balancing
// can be tested inside a testing/synctest bubble, in virtual time.
package lbtest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents" // reverse_proxy needs it
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage" // for the storage that Load creates
)

// Proxy is a provisioned reverse_proxy handler.
type Proxy struct {
	*reverseproxy.Handler
	*Config
}

// NewProxy is [Load] for a configuration without apps. It fails the test if the configuration is
// invalid.
func NewProxy(t testing.TB, config string, backends Backends) *Proxy {
	t.Helper()
	p, err := Load(t, nil, config, backends)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Get sends one request and returns the address of the upstream that served it, or the error.
func (p *Proxy) Get() (string, error) {
	w, err := p.Do(httptest.NewRequest(http.MethodGet, "http://lbtest/", nil))
	return w.Header().Get("X-Upstream"), err
}

// Do sends req through the proxy.
func (p *Proxy) Do(req *http.Request) (*httptest.ResponseRecorder, error) {
	r := p.Serve(req)
	return r.ResponseRecorder, r.Err
}

// Prepare prepares a request as Caddy's server does.
func Prepare(req *http.Request, repl *caddy.Replacer, w http.ResponseWriter) *http.Request {
	return caddyhttp.PrepareRequest(req, repl, w, new(caddyhttp.Server))
}

// Prime initializes process-wide state outside of bubbles: the goroutine that Caddy starts with the
// first upstream of a dynamic source, which would outlive a test, and the system's resolver, whose
// channel tests outside of the bubble could not use. Call Prime in TestMain of packages with tests
// in bubbles.
func Prime() {
	if _, err := net.LookupHost("localhost"); err != nil {
		panic(err)
	}
	caddy.RegisterModule(new(oneUpstream))
	t := new(testing.B)
	p, err := Load(t, nil, `{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"lbtest"}}`, Backends{"a:1": Latency(0)})
	if err == nil {
		_, err = p.Get()
		p.Close()
	}
	if err != nil {
		panic(err)
	}
}

// oneUpstream is a dynamic source.
type oneUpstream struct{}

func (*oneUpstream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.lbtest", New: func() caddy.Module { return new(oneUpstream) }}
}

func (*oneUpstream) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	return []*reverseproxy.Upstream{{Dial: "a:1"}}, nil
}
