// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents" // reverse_proxy needs it
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage" // for the storage of a configuration
)

func init() {
	caddy.RegisterModule(new(transport))
	caddy.RegisterModule(new(changing))
}

// backends are the backends of a test, by address. Safe for concurrent use.
type backends struct {
	mu       sync.Mutex
	served   map[string]int
	inFlight map[string]int
	peak     map[string]int  // highest number in flight
	failing  map[string]bool // requests fail
	hold     chan struct{}   // requests end when it is closed; nil to end them at once
	arrived  chan struct{}   // receives an element for each held request
	turn     atomic.Int64    // number of calls of changing
}

func newBackends() *backends {
	return &backends{
		served: make(map[string]int), inFlight: make(map[string]int), peak: make(map[string]int),
		failing: make(map[string]bool), arrived: make(chan struct{}, 1000),
	}
}

// fixtures are the backends of all tests, by name.
var fixtures sync.Map

func fixture(name string) *backends {
	b, _ := fixtures.Load(name)
	return b.(*backends)
}

// transport passes requests to the backends without a network.
type transport struct {
	Fixture string `json:"fixture"`
}

// CaddyModule returns the Caddy module information.
func (*transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.policytest", New: func() caddy.Module { return new(transport) }}
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	b, address := fixture(t.Fixture), r.URL.Host
	b.mu.Lock()
	b.inFlight[address]++
	b.peak[address] = max(b.peak[address], b.inFlight[address])
	hold, fails := b.hold, b.failing[address]
	b.mu.Unlock()
	if hold != nil {
		b.arrived <- struct{}{}
		<-hold
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight[address]--
	if fails {
		return nil, errors.New("the backend fails")
	}
	b.served[address]++
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"X-Upstream": {address}}, Body: http.NoBody, ProtoMajor: 1, ProtoMinor: 1, Request: r}, nil
}

// changing is a source that returns different upstreams for each request.
type changing struct {
	Fixture string `json:"fixture"`
}

// CaddyModule returns the Caddy module information.
func (*changing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.policytest", New: func() caddy.Module { return new(changing) }}
}

// GetUpstreams implements [reverseproxy.UpstreamSource]: one to five upstreams from u0, u1 or u2
// on.
func (c *changing) GetUpstreams(*http.Request) (all []*reverseproxy.Upstream, _ error) {
	n := int(fixture(c.Fixture).turn.Add(1))
	for i := range 1 + n%5 {
		all = append(all, &reverseproxy.Upstream{Dial: fmt.Sprintf("u%d:1", i+n/5%3)})
	}
	return all, nil
}

// proxy is Caddy's reverse_proxy with the policy.
type proxy struct {
	*reverseproxy.Handler
	*backends
}

// load loads a proxy with the policy, and the rest of its configuration in JSON.
func load(t *testing.T, policy map[string]any, config string) *proxy {
	t.Helper()
	base, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir())),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	t.Cleanup(cancel)
	b := newBackends()
	fixtures.Store(t.Name(), b)
	all := make(map[string]any)
	if err := json.Unmarshal([]byte(config), &all); err != nil {
		t.Fatal(err)
	}
	all["transport"] = map[string]any{"protocol": "policytest", "fixture": t.Name()}
	all["load_balancing"] = map[string]any{"selection_policy": policy, "retries": 3}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if app, err := ctx.AppIfConfigured("ballast"); err == nil {
		if err := app.(caddy.App).Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = app.(caddy.App).Stop() })
	}
	return &proxy{mod.(*reverseproxy.Handler), b}
}

// get sends a request with a key, and returns its status and the address of the backend that served
// it.
func (p *proxy) get(key string) (status int, address string) {
	w, repl := httptest.NewRecorder(), caddy.NewReplacer()
	r := httptest.NewRequest(http.MethodGet, "http://policytest/", nil)
	r.Header.Set("X-Key", key)
	r = caddyhttp.PrepareRequest(r, repl, w, new(caddyhttp.Server))
	err := p.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		return he.StatusCode, ""
	}
	return w.Code, w.Header().Get("X-Upstream")
}

// Interface guards
var (
	_ http.RoundTripper           = (*transport)(nil)
	_ reverseproxy.UpstreamSource = (*changing)(nil)
)
