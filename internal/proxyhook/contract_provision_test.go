// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// What the proxy is that a module is a guest of, the lineage tells while the module is
// provisioned: also of a guest's guest, and where proxies are nested.
func TestCaddyContractLineage(t *testing.T) {
	const nested = `"handle_response":[{"routes":[{"handle":[{"handler":"reverse_proxy",` + withPolicy + `,"upstreams":[{"dial":"inner:1"}]}]}]}]`
	for config, want := range map[string]struct{ lineage, dial string }{
		withPolicy: {"*reverseproxy.Handler *proxyhook_test.guest", "outer:1"},
		withSource: {"*reverseproxy.Handler *proxyhook_test.guest", "outer:1"},
		`"load_balancing":{"selection_policy":{"policy":"cookie","fallback":{"policy":"contract"}}}`: {"*reverseproxy.Handler *reverseproxy.CookieHashSelection *proxyhook_test.guest", "outer:1"},
		nested: {"*reverseproxy.Handler *reverseproxy.Handler *proxyhook_test.guest", "inner:1"},
	} {
		var lineage, dial string
		host(t, behavior{provision: func(g *guest, ctx caddy.Context) {
			modules := ctx.Modules()
			var types []string
			for _, m := range modules {
				types = append(types, fmt.Sprintf("%T", m))
				if h, ok := m.(*reverseproxy.Handler); ok {
					dial = h.Upstreams[0].Dial // it is decoded
				}
			}
			lineage = strings.Join(types, " ")
			if modules[len(modules)-1] != caddy.Module(g) {
				t.Errorf("%s: the lineage does not end with the module itself", config)
			}
		}}, `"upstreams":[{"dial":"outer:1"}],`+config)
		if lineage != want.lineage || dial != want.dial {
			t.Errorf("%s: the lineage is %q, and the nearest proxy that of %s", config, lineage, dial)
		}
	}
}

// provisionedParts returns which parts of a proxy are there.
func provisionedParts(h *reverseproxy.Handler) string {
	var parts []string
	for _, of := range []struct {
		name  string
		there bool
	}{
		{"transport", h.Transport != nil}, {"policy", h.LoadBalancing.SelectionPolicy != nil}, {"breaker", h.CB != nil}, {"source", h.DynamicUpstreams != nil},
		{"upstreams", h.Upstreams[0].Host != nil}, {"checks", h.HealthChecks.Passive.MaxFails != 0},
	} {
		if of.there {
			parts = append(parts, of.name)
		}
	}
	return strings.Join(parts, " ")
}

// A pool finds the transport and the policy, and is there before anything that it replaces.
func TestCaddyContractOrder(t *testing.T) {
	var order []string
	p := host(t, behavior{provision: func(g *guest, ctx caddy.Context) {
		order = append(order, string(g.id)+" after "+provisionedParts(proxyOf(ctx)))
	}}, strings.Join([]string{withTransport, withPolicy, withBreaker, withSource, `"upstreams":[{"dial":"a:1"}],"health_checks":{"passive":{"fail_duration":"1s"}}`}, ","))
	want := []string{
		string(guestTransport) + " after ", string(guestPolicy) + " after transport",
		string(guestBreaker) + " after transport policy", string(guestSource) + " after transport policy breaker",
	}
	if !slices.Equal(order, want) {
		t.Errorf("provisioned in the order %q, want %q", order, want)
	}
	if got := provisionedParts(p.Handler); got != "transport policy breaker source upstreams checks" {
		t.Errorf("in the end there are %s", got)
	}
}

// A proxy without a transport or a policy has neither when its source is provisioned, and
// keeps those that the source installs.
func TestCaddyContractDefaults(t *testing.T) {
	for _, installs := range []bool{false, true} {
		mine := new(guest)
		p := host(t, behavior{provision: func(_ *guest, ctx caddy.Context) {
			h := proxyOf(ctx)
			if h.Transport != nil || h.LoadBalancing != nil {
				t.Errorf("there is a default already: %T, %v", h.Transport, h.LoadBalancing)
			}
			if installs {
				h.Transport, h.LoadBalancing = mine, &reverseproxy.LoadBalancing{SelectionPolicy: mine}
			}
		}}, withSource)
		_, defaultTransport := p.Transport.(*reverseproxy.HTTPTransport)
		_, defaultPolicy := p.LoadBalancing.SelectionPolicy.(reverseproxy.RandomSelection)
		if kept := p.Transport == http.RoundTripper(mine) && p.LoadBalancing.SelectionPolicy == reverseproxy.Selector(mine); kept != installs ||
			defaultTransport == installs || defaultPolicy == installs {
			t.Errorf("installed %v: in the end there are %T and %T", installs, p.Transport, p.LoadBalancing.SelectionPolicy)
		}
	}
}

// wrapper is a transport around another one.
type wrapper struct {
	http.RoundTripper
	requests int
}

func (w *wrapper) RoundTrip(req *http.Request) (*http.Response, error) {
	w.requests++
	return w.RoundTripper.RoundTrip(req)
}

func (w *wrapper) RequestHeaderOps() *headers.HeaderOps {
	return &headers.HeaderOps{Set: http.Header{"X-Wrapped": {"yes"}}}
}

// Who replaces the transport while it is a guest's turn has each attempt once, and is asked
// for what transports may add.
func TestCaddyContractTransportIsWrapped(t *testing.T) {
	w := new(wrapper)
	p := host(t, behavior{
		provision: func(g *guest, ctx caddy.Context) {
			if h := proxyOf(ctx); g.id == guestPolicy {
				w.RoundTripper, h.Transport = h.Transport, w
			}
		},
		roundTrip: failFirst(func(req *http.Request) {
			if req.Header.Get("X-Wrapped") == "" {
				t.Error("the wrapper was not asked for header fields")
			}
		}),
	}, withTransport+","+withPolicy+`,"upstreams":[{"dial":"a:1"}]`)
	if _, err := p.Get(); err != nil || w.requests != 2 || p.Transport != http.RoundTripper(w) {
		t.Errorf("%d of 2 attempts went through the wrapper of %T, %v", w.requests, p.Transport, err)
	}
}

// The transport and the policy can be replaced once a proxy is provisioned, as fan-out does.
func TestCaddyContractReplacedAfterProvisioning(t *testing.T) {
	p := host(t, behavior{}, withTransport+`,"upstreams":[{"dial":"a:1"}]`)
	w := &wrapper{RoundTripper: p.Transport}
	p.Transport, p.LoadBalancing.SelectionPolicy = w, &guest{do: behavior{pick: func(reverseproxy.UpstreamPool, *http.Request) *reverseproxy.Upstream {
		return &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "other:1"}
	}}}
	r := p.Serve(httptest.NewRequest(http.MethodGet, "http://x/", nil))
	if got, _ := r.Placeholders.GetString("http.reverse_proxy.upstream.hostport"); r.Err != nil || w.requests != 1 || got != "other:1" {
		t.Errorf("%d requests through the new transport, to %s; %v", w.requests, got, r.Err)
	}
}

// TLS and h2c can be enabled in a transport that is provisioned. The header fields that
// depend on TLS are asked for later.
func TestCaddyContractSchemeOfAProvisionedTransport(t *testing.T) {
	for scheme, enable := range map[string]func(*reverseproxy.HTTPTransport) error{
		"https": func(tr *reverseproxy.HTTPTransport) error {
			err := tr.EnableTLS(new(reverseproxy.TLSConfig))
			tr.Transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // instead of a certificate
			return err
		},
		"h2c": func(tr *reverseproxy.HTTPTransport) error {
			tr.Transport.Protocols = new(http.Protocols)
			tr.Transport.Protocols.SetUnencryptedHTTP2(true)
			return tr.EnableH2C()
		},
	} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.TLS != nil, " ", r.ProtoMajor, " ", r.Host)
		}))
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(scheme == "https")
		server.Config.Protocols.SetUnencryptedHTTP2(scheme == "h2c")
		address := server.Listener.Addr().String()
		want := "false 2 x"
		if scheme == "https" {
			want = "true 1 " + address
			server.StartTLS()
		} else {
			server.Start()
		}
		defer server.Close()
		p := host(t, behavior{
			provision: func(_ *guest, ctx caddy.Context) {
				if err := enable(proxyOf(ctx).Transport.(*reverseproxy.HTTPTransport)); err != nil {
					t.Error(err)
				}
			},
			list: func() []*reverseproxy.Upstream { return []*reverseproxy.Upstream{{Dial: address}} },
		}, `"transport":{"protocol":"http"},`+withSource)
		w, err := p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil))
		if err != nil || w.Body.String() != want {
			t.Errorf("%s: got %q, %v; want %q", scheme, w.Body, err, want)
		}
		p.Close()
	}
}

// What was written of a transport's modules is dropped once they are loaded. What they are
// shows in the transport that was built of them.
func TestCaddyContractRawModulesAreDropped(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	cert := server.Certificate()
	p := host(t, behavior{}, fmt.Sprintf(`"transport":{"protocol":"http","network_proxy":{"from":"url","url":"http://127.0.0.1:9"},
		"tls":{"ca":{"provider":"inline","trusted_ca_certs":[%q]}}}`, base64.StdEncoding.EncodeToString(cert.Raw)))
	tr := p.Transport.(*reverseproxy.HTTPTransport)
	if tr.NetworkProxyRaw != nil || tr.TLS.CARaw != nil {
		t.Errorf("kept %s and %s", tr.NetworkProxyRaw, tr.TLS.CARaw)
	}
	//lint:ignore SA1019 the pool is no system's, and there is no other way to tell what is in it
	subjects := tr.Transport.TLSClientConfig.RootCAs.Subjects()
	if !reflect.DeepEqual(subjects, [][]byte{cert.RawSubject}) {
		t.Errorf("it trusts %q", subjects)
	}
	ctx := context.WithValue(t.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	if u, err := tr.Transport.Proxy(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://a:1/", nil)); err != nil || u == nil || u.Host != "127.0.0.1:9" {
		t.Errorf("its proxy is %v, %v", u, err)
	}
}
