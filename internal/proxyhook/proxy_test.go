// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendtest"
)

// A policy of the test's own that attaches as Ballast's do.
func init() { caddy.RegisterModule(new(first)) }

// first is a policy that picks the first upstream it has not tried.
type first struct {
	proxy    *Proxy
	backends map[string]*backend.Backend
}

func (*first) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.attachtest", New: func() caddy.Module { return new(first) }}
}

func (p *first) Provision(ctx caddy.Context) (err error) {
	p.backends = make(map[string]*backend.Backend)
	for _, a := range []string{"a:1", "b:1"} {
		p.backends[a] = backend.New("", backend.Endpoint{Address: a, Settings: backend.Settings{ID: a, Weight: new(1)}}, backend.NewState(), nil, nil)
	}
	if p.proxy, err = To(ctx); err != nil {
		return err
	}
	again, err := To(ctx)
	if again != p.proxy {
		return errors.New("attached twice")
	}
	p.proxy.UseList(p)
	return err
}

func (p *first) Find(address string) *backend.Backend { return p.backends[address] }

func (p *first) Select(list reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	for _, u := range list {
		if b := p.backends[u.Dial]; !slices.Contains(Tried(r), b) {
			SetAttempt(r, backend.Permit{Backend: b}, "attachtest", len(Tried(r))+1)
			return u
		}
	}
	return Refuse(r, p.proxy, nil, "spent")
}

func policyOf(p *lbtest.Proxy) *first { return p.LoadBalancing.SelectionPolicy.(*first) }

const config = `{"transport":{"protocol":"lbtest"},
	"load_balancing":{"retries":3,"selection_policy":{"policy":"attachtest"}},
	"upstreams":[{"dial":"a:1"},{"dial":"b:1"}]}`

func TestAttemptsAreRememberedAndCounted(t *testing.T) {
	p := lbtest.NewProxy(t, config, lbtest.Backends{"a:1": lbtest.Refused, "b:1": lbtest.Latency(0)})
	r := p.Serve(httptest.NewRequest(http.MethodGet, "http://x/", nil))
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	for placeholder, want := range map[string]string{
		"http.ballast.tries": "2", "http.ballast.backend": "b:1", "http.ballast.policy": "attachtest", "http.ballast.pool": "",
	} {
		if got, _ := r.Placeholders.GetString(placeholder); got != want {
			t.Errorf("%s is %q, want %q", placeholder, got, want)
		}
	}
	a, b := policyOf(p).backends["a:1"].Totals(), policyOf(p).backends["b:1"].Totals()
	if a.Requests != 1 || backendtest.Failures(a) != 1 || a.InFlight != 0 {
		t.Errorf("the backend that refused: %+v", a)
	}
	if b.Requests != 1 || backendtest.Failures(b) != 0 || b.InFlight != 0 || b.Responses[2] != 1 {
		t.Errorf("the backend that answered: %+v", b)
	}
}

func TestSpentRequestSaysWhy(t *testing.T) {
	p := lbtest.NewProxy(t, config, lbtest.Backends{"a:1": lbtest.Refused, "b:1": lbtest.Refused})
	r := p.Serve(httptest.NewRequest(http.MethodGet, "http://x/", nil))
	if r.Err == nil {
		t.Fatal("no error though all refuse")
	}
	if got := r.Placeholder("reason"); got != "spent" {
		t.Errorf("reason %q", got)
	}
}

// Request variables are shared by all proxies that a request runs through, as
// with forward_auth: what one has tried is nothing to the next.
func TestProxiesDoNotShareAttempts(t *testing.T) {
	backends := lbtest.Backends{"a:1": lbtest.Latency(0), "b:1": lbtest.Latency(0)}
	one, two := lbtest.NewProxy(t, config, backends), lbtest.NewProxy(t, config, backends)
	w := httptest.NewRecorder()
	req := lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://x/", nil), caddy.NewReplacer(), w)
	for _, p := range []*lbtest.Proxy{one, two, one} {
		w := httptest.NewRecorder()
		if err := p.ServeHTTP(w, req, nil); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("X-Upstream"); got != "a:1" {
			t.Errorf("served by %s, want the first upstream, a:1", got)
		}
	}
}

// Caddy's own health checks use the same transport. They are no attempts.
func TestHealthChecksOfCaddyAreNotCounted(t *testing.T) {
	p := lbtest.NewProxy(t, config, lbtest.Backends{"a:1": lbtest.Latency(0)})
	req := httptest.NewRequest(http.MethodGet, "http://a:1/health", nil)
	if _, b, _ := p.Transport.(*Proxy).selected(req, vars(req.Context())); b != nil {
		t.Error("a request without variables counts as an attempt")
	}
}

func TestClientGoneIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p := lbtest.NewProxy(t, config, lbtest.Backends{"a:1": func(*http.Request) (int, error) {
		cancel()
		return http.StatusOK, nil
	}})
	_, _ = p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil).WithContext(ctx))
	if got := policyOf(p).backends["a:1"].Totals(); backendtest.Failures(got) != 0 || got.ClientGone != 1 || got.InFlight != 0 {
		t.Errorf("got %+v", got)
	}
}

// full is a transport with every optional interface, bare one with none.
type (
	bare struct{ http.RoundTripper }
	full struct {
		bare
		tls, h2c bool
	}
)

func (f *full) TLSEnabled() bool                                  { return f.tls }
func (f *full) EnableTLS(*reverseproxy.TLSConfig) error           { f.tls = true; return nil }
func (f *full) EnableH2C() error                                  { f.h2c = true; return nil }
func (f *full) DefaultBufferSizes() (int64, int64)                { return 1, 2 }
func (f *full) ProxyProtocolEnabled() bool                        { return true }
func (f *full) OverrideHealthCheckScheme(base *url.URL, _ string) { base.Scheme = "https" }
func (f *full) RequestHeaderOps() *headers.HeaderOps              { return new(headers.HeaderOps) }
func (f *full) RequiresContentLength() bool                       { return true }

func TestOptionalInterfacesAreForwarded(t *testing.T) {
	inner := new(full)
	for _, p := range []*Proxy{{next: inner}, {next: bare{}}} {
		has := p.next == http.RoundTripper(inner)
		if err := p.EnableTLS(nil); (err == nil) != has {
			t.Errorf("EnableTLS: %v", err)
		}
		if err := p.EnableH2C(); (err == nil) != has {
			t.Errorf("EnableH2C: %v", err)
		}
		u := &url.URL{Scheme: "http"}
		p.OverrideHealthCheckScheme(u, "")
		request, response := p.DefaultBufferSizes()
		for name, got := range map[string]bool{
			"TLSEnabled": p.TLSEnabled(), "DefaultBufferSizes": request == 1 && response == 2,
			"ProxyProtocolEnabled": p.ProxyProtocolEnabled(), "OverrideHealthCheckScheme": u.Scheme == "https",
			"RequestHeaderOps": p.RequestHeaderOps() != nil, "RequiresContentLength": p.RequiresContentLength(),
		} {
			if got != has {
				t.Errorf("%s answers %v for a transport that has it: %v", name, got, has)
			}
		}
	}
	if !inner.tls || !inner.h2c {
		t.Error("EnableTLS and EnableH2C did not reach the transport")
	}
}

func TestUseScheme(t *testing.T) {
	for _, tt := range []struct {
		scheme string
		next   http.RoundTripper
		want   string // part of the error
	}{
		{"", &full{tls: true}, ""},
		{"http", &full{}, ""},
		{"http", &full{tls: true}, "http:// but the transport has TLS"},
		{"https", &full{}, ""},
		{"https", bare{}, "has no TLS"},
		{"h2c", bare{}, "need `transport http`"},
	} {
		err := (&Proxy{next: tt.next}).UseScheme(tt.scheme)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q on %T: %v, want %q", tt.scheme, tt.next, err, tt.want)
		}
	}
}

// What a backend says is not told at its full length.
func TestErrorsAreClipped(t *testing.T) {
	long := fmt.Errorf("malformed HTTP status code %q: %w", strings.Repeat("x", 1<<20), io.ErrUnexpectedEOF)
	p := lbtest.NewProxy(t, config, lbtest.Backends{
		"a:1": func(*http.Request) (int, error) { return 0, long },
		"b:1": func(*http.Request) (int, error) { return 0, long },
	})
	_, err := p.Get()
	if err == nil || len(err.Error()) > 2*clip.MaxBytes || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %.200s, of %d bytes", err, len(fmt.Sprint(err)))
	}
}
