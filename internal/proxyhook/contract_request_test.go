// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/caddypolicies"
)

// passive are passive health checks that would change an upstream of a list.
const passive = `"health_checks":{"passive":{"fail_duration":"1h","max_fails":3,"unhealthy_request_count":5}}`

// An upstream that is not in the list is only read, and its host counts requests and
// failures.
func TestCaddyContractUpstreamOutsideTheList(t *testing.T) {
	counts := new(reverseproxy.Host)
	chosen := &reverseproxy.Upstream{Host: counts, Dial: "a:1"}
	p := host(t, behavior{
		pick: func(list reverseproxy.UpstreamPool, _ *http.Request) *reverseproxy.Upstream {
			if len(list) > 0 {
				t.Errorf("the list has %v", list)
			}
			return chosen
		},
		roundTrip: failFirst(func(req *http.Request) {
			if info, _ := reverseproxy.GetDialInfo(req.Context()); info.Upstream != chosen || counts.NumRequests() != 1 {
				t.Errorf("sent to %v, with %d in flight", info.Upstream, counts.NumRequests())
			}
		}),
	}, withTransport+","+withPolicy+","+withBreaker+","+withSource+","+passive)
	if _, err := p.Get(); err != nil || counts.NumRequests() != 0 || counts.Fails() != 1 {
		t.Errorf("%d in flight, %d failures, %v", counts.NumRequests(), counts.Fails(), err)
	}
	if !reflect.DeepEqual(chosen, &reverseproxy.Upstream{Host: counts, Dial: "a:1"}) {
		t.Error("the upstream has changed")
	}
}

// Caddy writes to the upstreams that a source returns, for each request.
func TestCaddyContractUpstreamsOfASourceAreWritten(t *testing.T) {
	var u *reverseproxy.Upstream
	p := host(t, behavior{list: func() []*reverseproxy.Upstream {
		u = &reverseproxy.Upstream{Dial: "a:1"}
		return []*reverseproxy.Upstream{u}
	}}, withTransport+","+withPolicy+","+withSource+","+passive)
	for range 2 {
		if _, err := p.Get(); err != nil || u.Host == nil || u.MaxRequests != 5 {
			t.Errorf("host %v, max_requests %d, %v", u.Host, u.MaxRequests, err)
		}
	}
}

// newList returns a list of three upstreams with room for another.
func newList() reverseproxy.UpstreamPool {
	list := make(reverseproxy.UpstreamPool, 0, 4)
	for _, dial := range []string{"a:1", "b:1", "c:1"} {
		list = append(list, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: dial})
	}
	return list
}

// forPoliciesOfCaddy calls f with each of Caddy's policies, for three upstreams.
func forPoliciesOfCaddy(t *testing.T, f func(name string, policy reverseproxy.Selector)) {
	t.Helper()
	needs := map[string]string{
		"weighted_round_robin": `{"weights":[1,2,3]}`, "header": `{"field":"X-Key"}`, "query": `{"key":"key"}`,
		"random_choose": `{"choose":2}`,
	}
	found := 0
	for _, info := range caddy.GetModules("http.reverse_proxy.selection_policies") {
		if reflect.TypeOf(info.New()).Elem().PkgPath() != reflect.TypeFor[reverseproxy.Handler]().PkgPath() {
			continue
		}
		found++
		name := info.ID.Name()
		if _, err := lbtest.LoadConfig(t, nil, nil, func(ctx caddy.Context) error {
			mod, err := ctx.LoadModuleByID(string(info.ID), json.RawMessage(needs[name]))
			if err == nil {
				f(name, mod.(reverseproxy.Selector))
			}
			return err
		}); err != nil {
			t.Errorf("%s: %v", info.ID, err)
		}
	}
	if found < 12 {
		t.Errorf("found %d policies of Caddy, want the 12 of v2.11 at least", found)
	}
}

// Caddy's policies neither change the list nor the upstreams in it, so that requests may
// share both.
func TestCaddyContractPoliciesOnlyRead(t *testing.T) {
	forPoliciesOfCaddy(t, func(name string, policy reverseproxy.Selector) {
		list := newList()
		before := slices.Clone(list)
		for range 10 {
			w := httptest.NewRecorder()
			req := lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://x/?key=1", nil), caddy.NewReplacer(), w)
			if u := policy.Select(list, req, w); !slices.Contains(before, u) {
				t.Errorf("%s selects %v", name, u)
			}
		}
		if !slices.Equal(list, before) || !reflect.DeepEqual(list, newList()) || list[:4][3] != nil {
			t.Errorf("%s has changed its list", name)
		}
	})
}

// A policy is keyed if each client's requests all go to one backend. If those of all clients go to the same one, they have
// one key. Clients differ in all that a policy may know of them, and keep their cookies.
func TestCaddyContractKeyedPolicies(t *testing.T) {
	seen := make(map[backend.Affinity]bool)
	forPoliciesOfCaddy(t, func(name string, policy reverseproxy.Selector) {
		list, used := newList(), make(map[*reverseproxy.Upstream]bool)
		constant := true
		for client := range 30 {
			var first *reverseproxy.Upstream
			var cookies []*http.Cookie
			for n := range 20 {
				w, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, fmt.Sprintf("http://x/%d?key=%d", client, client), nil)
				ip := fmt.Sprintf("10.0.0.%d", client)
				req.RemoteAddr = ip + ":1"
				req.Header.Set("X-Key", ip)
				for _, c := range cookies {
					req.AddCookie(c)
				}
				req = lbtest.Prepare(req, caddy.NewReplacer(), w)
				caddyhttp.SetVar(req.Context(), caddyhttp.ClientIPVarKey, ip)
				u := policy.Select(list, req, w)
				if n == 0 {
					first, cookies = u, w.Result().Cookies()
				}
				constant, used[u] = constant && u == first, true
			}
		}
		want := backend.Unbound
		switch {
		case constant && len(used) > 1:
			want = backend.SessionBound
		case constant:
			want = backend.KeyBound(0)
		}
		if got := caddypolicies.AffinityOf(name); got != want {
			t.Errorf("%s has the affinity %v, want %v", name, got, want)
		}
		seen[want] = true
	})
	if len(seen) != 3 {
		t.Errorf("found policies of the affinities %v only", seen)
	}
}

// All attempts of a request and all proxies that it runs through share its variables and its
// placeholders. The URL is of one run, and all attempts of the run have it.
func TestCaddyContractSharedByAttempts(t *testing.T) {
	const key = "contract"
	var variables []int
	var urls []*url.URL
	var repls []any
	do := behavior{
		pick: func(list reverseproxy.UpstreamPool, req *http.Request) *reverseproxy.Upstream {
			n, _ := caddyhttp.GetVar(req.Context(), key).(int)
			caddyhttp.SetVar(req.Context(), key, n+1)
			urls = append(urls, req.URL)
			return list[0]
		},
		roundTrip: failFirst(func(req *http.Request) {
			n, _ := caddyhttp.GetVar(req.Context(), key).(int)
			variables, urls, repls = append(variables, n), append(urls, req.URL), append(repls, req.Context().Value(caddy.ReplacerCtxKey))
		}),
	}
	const config = withTransport + "," + withPolicy + `,"upstreams":[{"dial":"a:1"}]`
	one, two := host(t, do, config), host(t, do, config)
	w, repl := httptest.NewRecorder(), caddy.NewReplacer()
	req := lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://x/", nil), repl, w)
	runs := []*url.URL{req.URL}
	for _, p := range []*lbtest.Proxy{one, two, one} {
		urls = nil
		if err := p.ServeHTTP(w, req, nil); err != nil {
			t.Fatal(err)
		}
		if len(urls) != 4 || len(slices.Compact(urls)) != 1 || slices.Contains(runs, urls[0]) {
			t.Errorf("two attempts have the URLs %p, which must be one, and none of %p", urls, runs)
		}
		runs = append(runs, urls[0])
	}
	if !slices.Equal(variables, []int{1, 2, 3, 4, 5, 6}) || caddyhttp.GetVar(req.Context(), key) != 6 {
		t.Errorf("the attempts of 3 runs have seen %v", variables)
	}
	if len(slices.Compact(repls)) != 1 || repls[0] != any(repl) {
		t.Error("attempts have other placeholders than their request")
	}
}

// Caddy writes to the variables and the placeholders of a request, so that concurrent
// attempts cannot share them.
func TestCaddyContractRequestIsWritten(t *testing.T) {
	p := host(t, behavior{}, withTransport+`,"upstreams":[{"dial":"a:1"}]`)
	w, repl := httptest.NewRecorder(), caddy.NewReplacer()
	req := lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://x/", nil), repl, w)
	variables := req.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	before := len(variables)
	if err := p.ServeHTTP(w, req, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := repl.GetString("http.reverse_proxy.upstream.hostport"); got != "a:1" || len(variables) == before {
		t.Errorf("wrote %d variables, and the placeholder %q", len(variables)-before, got)
	}
}

// A selection need not be followed by an attempt.
func TestCaddyContractSelectWithoutAttempt(t *testing.T) {
	for dial, want := range map[string]int{"": 3, "a:1-2": 1} {
		selected, sent := 0, 0
		p := host(t, behavior{
			pick: func(reverseproxy.UpstreamPool, *http.Request) *reverseproxy.Upstream {
				if selected++; dial == "" {
					return nil
				}
				return &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: dial}
			},
			roundTrip: failFirst(func(*http.Request) { sent++ }),
		}, withTransport+","+withPolicy+","+withSource)
		if _, err := p.Get(); err == nil || selected != want || sent != 0 {
			t.Errorf("%q: selected %d times, want %d, and sent %d; %v", dial, selected, want, sent, err)
		}
	}
}

// A dial error is retried for any method, also where it has a status; the client's leaving is
// no error; and what an attempt failed of is told if no upstream is selected after it.
func TestCaddyContractErrors(t *testing.T) {
	refused := caddyhttp.Error(http.StatusServiceUnavailable, reverseproxy.NewDialError(errBroken))
	for name, tt := range map[string]struct {
		err              error
		selectable       int
		attempts, status int
		says             bool
	}{
		"dial":                  {refused, 9, 3, 503, true},
		"other":                 {errBroken, 9, 1, 502, true},
		"client gone":           {context.Canceled, 9, 1, 499, false},
		"none after an attempt": {reverseproxy.NewDialError(errBroken), 1, 1, 502, true},
	} {
		selected, sent := 0, 0
		p := host(t, behavior{
			pick: func(list reverseproxy.UpstreamPool, _ *http.Request) *reverseproxy.Upstream {
				if selected++; selected > tt.selectable {
					return nil
				}
				return list[0]
			},
			roundTrip: func(*http.Request) (*http.Response, error) { sent++; return nil, tt.err },
		}, withTransport+","+withPolicy+`,"upstreams":[{"dial":"a:1"}]`)
		r := p.Serve(httptest.NewRequest(http.MethodPost, "http://x/", nil))
		if says := r.Err != nil && strings.Contains(r.Err.Error(), errBroken.Error()); sent != tt.attempts || r.Status != tt.status || says != tt.says {
			t.Errorf("%s: %d attempts, status %d, %v", name, sent, r.Status, r.Err)
		}
	}
}

// Caddy's health checks go through the transport that a guest has put in, and are told apart
// by their having no variables.
func TestCaddyContractActiveHealthChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var checks []string
		w := new(wrapper)
		host(t, behavior{
			provision: func(g *guest, ctx caddy.Context) {
				if h := proxyOf(ctx); g.id == guestPolicy {
					w.RoundTripper, h.Transport = h.Transport, w
				}
			},
			roundTrip: func(req *http.Request) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				info, _ := reverseproxy.GetDialInfo(req.Context())
				if checks = append(checks, info.Address+req.URL.Path); req.Context().Value(caddyhttp.VarsCtxKey) != nil {
					t.Error("a health check has variables")
				}
				return answer(req, http.NoBody), nil
			},
		}, withTransport+","+withPolicy+`,"upstreams":[{"dial":"a:1"}],"health_checks":{"active":{"uri":"/health"}}`)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(checks, []string{"a:1/health"}) || w.requests != 1 {
			t.Errorf("checked %v, %d through the wrapper", checks, w.requests)
		}
	})
}

// Caddy's dial function hides why a dial has failed.
func TestCaddyContractDialErrorsHideTheirCause(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close() // nobody listens there
	p := host(t, behavior{}, `"transport":{"protocol":"http"},"upstreams":[{"dial":"`+address+`"}]`)
	_, err = p.Get()
	if _, ok := errors.AsType[reverseproxy.DialError](err); !ok || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, whose cause shows: %v", err, errors.Is(err, syscall.ECONNREFUSED))
	}
}
