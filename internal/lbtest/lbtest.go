// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package lbtest runs Caddy's real reverse_proxy handler without sockets, so
// that load balancing can be tested inside a testing/synctest bubble, where
// time is virtual.
package lbtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents" // reverse_proxy needs it
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage" // for the storage below
)

// Proxy is a provisioned reverse_proxy handler.
type Proxy struct {
	*reverseproxy.Handler
	*Config
}

// Config is the configuration that a proxy is part of.
type Config struct {
	ctx    caddy.Context
	app    caddy.App // the ballast app, if there is one, started
	cancel func()
	logID  string
}

var loaded atomic.Int64 // tells configurations apart

// Load provisions one reverse_proxy from config in a configuration with the
// given apps, and starts the ballast app. Several configurations may be loaded
// at a time, as around a reload. Beside the apps there may be the "storage" of
// the configuration; without, it has an empty one.
func Load(t testing.TB, apps caddy.ModuleMap, config string, backends Backends) (*Proxy, error) {
	t.Helper()
	proxies, err := LoadAll(t, apps, backends, config)
	if err != nil {
		return nil, err
	}
	return proxies[0], nil
}

// LoadAll is Load of several proxies in one configuration.
func LoadAll(t testing.TB, apps caddy.ModuleMap, backends Backends, configs ...string) (proxies []*Proxy, err error) {
	t.Helper()
	logID := fmt.Sprint(t.Name(), " ", loaded.Add(1))
	storage := apps["storage"]
	if storage == nil {
		storage = json.RawMessage(`{"module":"file_system","root":"` + t.TempDir() + `"}`)
	}
	base, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		Logging:    logging(logID),
		StorageRaw: storage,
	})
	if err != nil {
		return nil, err
	}
	base = base.WithValue(backendsKey{}, backends)
	ctx, cancel := caddy.NewContext(base)
	c := &Config{ctx: ctx, cancel: cancel, logID: logID}
	t.Cleanup(c.Close)
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for id, raw := range apps {
		if id == "storage" {
			continue
		}
		if _, err := ctx.LoadModuleByID(id, raw); err != nil {
			return nil, err
		}
	}
	for _, config := range configs {
		mod, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", json.RawMessage(config))
		if err != nil {
			return nil, err
		}
		proxies = append(proxies, &Proxy{mod.(*reverseproxy.Handler), c})
	}
	if app, err := ctx.AppIfConfigured("ballast"); err == nil {
		c.app = app.(caddy.App)
		if err := c.app.Start(); err != nil {
			return nil, err
		}
	}
	return proxies, nil
}

// NewProxy is Load for a configuration that must be right and has no apps.
func NewProxy(t testing.TB, config string, backends Backends) *Proxy {
	t.Helper()
	p, err := Load(t, nil, config, backends)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Close stops the configuration as Caddy does: apps first, then all modules
// are cleaned up. It is called when the test ends, and may be called before.
func (c *Config) Close() {
	if c.app != nil {
		_ = c.app.Stop()
		c.app = nil
	}
	if c.cancel != nil {
		c.cancel()
		c.cancel = nil
	}
}

// Context returns the configuration's context.
func (c *Config) Context() caddy.Context { return c.ctx }

// Get sends one request and returns the address of the upstream that served
// it, or the error.
func (p *Proxy) Get() (string, error) {
	w, err := p.Do(httptest.NewRequest(http.MethodGet, "http://lbtest/", nil))
	return w.Header().Get("X-Upstream"), err
}

// Do sends req through the proxy.
func (p *Proxy) Do(req *http.Request) (*httptest.ResponseRecorder, error) {
	w, _, err := p.DoWith(req)
	return w, err
}

// DoWith is Do that also returns the request's placeholders.
func (p *Proxy) DoWith(req *http.Request) (*httptest.ResponseRecorder, *caddy.Replacer, error) {
	w, repl := httptest.NewRecorder(), caddy.NewReplacer()
	req = Prepare(req, repl, w)
	err := p.ServeHTTP(w, req, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	return w, repl, err
}

// Prepare readies a request as Caddy's server does.
func Prepare(req *http.Request, repl *caddy.Replacer, w http.ResponseWriter) *http.Request {
	return caddyhttp.PrepareRequest(req, repl, w, new(caddyhttp.Server))
}

// Prime starts the goroutine that Caddy starts, once in a process, with the
// first upstream of a dynamic source. In a bubble it would outlive the test:
// call Prime in TestMain where tests in bubbles have dynamic sources.
func Prime() {
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
