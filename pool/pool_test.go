// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// everyPolicy are the default, Ballast's policies without a key, and some of Caddy's own.
var everyPolicy = slices.Concat([]string{""}, lbtest.KeylessPolicies(), []string{"round_robin", "random", "least_conn", "first"})

// A backend that goes down is left out, is probed on, and comes back; each turn
// is logged once and is one event.
func TestDownAndUp(t *testing.T) {
	for _, policy := range everyPolicy {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := load(t, nil, proxy(policy, `"name":"web",`+dials("a:1", "b:1")+","+check(t, "")))
				seen := events(t, p)
				seconds(0.5)
				if policy != "first" {
					expectServed(t, p, "a:1", "b:1")
				}
				w.set(func() { w.sick["a:1"] = true })
				seconds(1)
				expectServed(t, p, "b:1")
				w.set(func() { w.sick["a:1"] = false })
				seconds(1)
				expectServed(t, p, "b:1") // one pass of two
				seconds(1)
				if policy != "first" {
					expectServed(t, p, "a:1", "b:1")
				}
				if want := []string{"backend_down web a:1 fake sick", "backend_up web a:1 fake "}; !slices.Equal(seen(), want) {
					t.Errorf("events %q, want %q", seen(), want)
				}
				want := []string{"backend is down web a:1 a:1 fake sick", "backend is up web a:1 a:1 fake <nil>"}
				if got := p.Logged("pool", "backend", "address", "check", "reason"); !slices.Equal(got, want) {
					t.Errorf("log %q, want %q", got, want)
				}
			})
		})
	}
	lbtest.NoLeaks(t)
}

func TestTiers(t *testing.T) {
	for _, policy := range everyPolicy {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := load(t, nil, proxy(policy, `"backends":[{"dial":"a:1"},{"dial":"b:1","tier":1},{"dial":"c:1","backup":true}],`+check(t, "")))
				for _, step := range []struct {
					sick   []string
					serves string
				}{
					{nil, "a:1"}, {[]string{"a:1"}, "b:1"}, {[]string{"a:1", "b:1"}, "c:1"}, {[]string{"b:1"}, "a:1"},
				} {
					w.set(func() {
						clear(w.sick)
						for _, s := range step.sick {
							w.sick[s] = true
						}
					})
					seconds(2.5)
					expectServed(t, p, step.serves)
				}
				w.set(func() { w.sick["a:1"], w.sick["b:1"], w.sick["c:1"] = true, true, true })
				seconds(4) // the guard holds them for as long as there was traffic of late
				expectNone(t, p, "all_down")
			})
		})
	}
}

// A tier serves alone, but a retry goes to the next rather than to a backend
// that was tried.
func TestRetriesPreferTheUntried(t *testing.T) {
	for _, policy := range everyPolicy[1:] {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var met []string
				refuse := func(req *http.Request) (int, error) {
					info, _ := reverseproxy.GetDialInfo(req.Context())
					met = append(met, info.Address)
					return lbtest.Refused(req)
				}
				p, err := lbtest.Load(t, nil, proxy(policy, `"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1","backup":true}],"outliers":{"off":true}`),
					lbtest.Backends{"a:1": refuse, "b:1": refuse, "c:1": refuse})
				if err != nil {
					t.Fatal(err)
				}
				for range 20 {
					met = nil
					if _, err := p.Get(); err == nil {
						t.Fatal("no error though all refuse")
					}
					if len(met) != 4 || met[2] != "c:1" || met[0] == met[1] || met[3] == "c:1" {
						t.Fatalf("attempts went to %v, want both of the first tier, then the second, then again the first", met)
					}
				}
			})
		})
	}
}

func TestNothingEligible(t *testing.T) {
	for _, policy := range []string{"", "wrr", "round_robin"} { // of Ballast and of Caddy
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.sick["a:1"] = true
				p := load(t, nil, proxy(policy, dials("a:1")+","+check(t, "")))
				seconds(0.5)
				expectNone(t, p, "all_down")
				expectNone(t, load(t, nil, proxy(policy, `"backends":[{"dial":"a:1","weight":0}]`)), "no_weight")
			})
		})
	}
}

func TestWeightZeroTakesNothing(t *testing.T) {
	for _, policy := range everyPolicy {
		synctest.Test(t, func(t *testing.T) {
			p := load(t, nil, proxy(policy, `"backends":[{"dial":"a:1","weight":0},{"dial":"b:1"}]`))
			expectServed(t, p, "b:1")
		})
	}
}

// All checks must pass; the backend goes down and comes up once, however many
// of them turn.
func TestSeveralChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		both := strings.TrimSuffix(check(t, ""), "]") + "," + strings.TrimPrefix(check(t, `,"passes":3,"uri":"/other"`), `"health":[`)
		p := load(t, nil, proxy("wrr", dials("a:1", "b:1")+","+both))
		seconds(0.5)
		w.set(func() { w.sick["a:1"] = true })
		seconds(1)
		expectServed(t, p, "b:1")
		w.set(func() { w.sick["a:1"] = false })
		seconds(2)
		expectServed(t, p, "b:1") // the first check passes again, the second wants a third time
		seconds(1)
		expectServed(t, p, "a:1", "b:1")
		if got := p.Logged(); !slices.Equal(got, []string{"backend is down", "backend is up"}) {
			t.Errorf("log %q", got)
		}
	})
}

// Two pools that differ in a check are told apart, though they share an address.
func TestPoolsOnOneAddressStayApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		checked := load(t, nil, proxy("wrr", dials("a:1", "b:1")+","+check(t, "")))
		unchecked := load(t, nil, proxy("wrr", dials("a:1", "b:1")))
		patient := load(t, nil, proxy("wrr", `"name":"p",`+dials("a:1", "b:1")+","+check(t, `,"uri":"/x"`)))
		w.set(func() { w.sick["a:1"] = true })
		seconds(1.5)
		expectServed(t, checked, "b:1")
		expectServed(t, unchecked, "a:1", "b:1")
		expectServed(t, patient, "b:1")
	})
}

// Placeholders tell where a request went, whoever chose.
func TestPlaceholders(t *testing.T) {
	for _, policy := range []string{"p2c", "wrr", "round_robin", "ip_hash"} { // of Ballast and of Caddy
		p := load(t, nil, proxy(policy, `"name":"web","backends":[{"dial":"a:1","id":"app-1"}]`))
		r := p.Serve(newRequest())
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		for placeholder, want := range map[string]string{
			"pool": "web", "backend": "app-1", "policy": policy, "tries": "1", "reason": "",
		} {
			if got, _ := r.Placeholders.GetString("http.ballast." + placeholder); got != want {
				t.Errorf("%s: %s is %q, want %q", policy, placeholder, got, want)
			}
		}
	}
}

// A refused request has the name of the pool that refused it, which the pages of handle_errors and
// the access log show beside the reason.
func TestPlaceholdersOfRefusal(t *testing.T) {
	for _, policy := range []string{"p2c", "sticky", "round_robin"} { // of Ballast and of Caddy
		p := load(t, nil, proxy(policy, `"name":"web","backends":[{"dial":"a:1","weight":0}]`))
		r := p.Serve(newRequest())
		if pool, reason := r.Placeholder("pool"), r.Placeholder("reason"); r.Err == nil || pool != "web" || reason != "no_weight" {
			t.Errorf("%s: %v, pool %q, reason %q", policy, r.Err, pool, reason)
		}
		if backend := r.Placeholder("backend"); backend != "" {
			t.Errorf("%s: backend %q", policy, backend)
		}
	}
}

// The reason is that of the latest attempt: none once one has succeeded.
func TestReasonOfFailedAttempts(t *testing.T) {
	healed := false
	backends := lbtest.Backends{"a:1": func(req *http.Request) (int, error) {
		if healed = !healed; healed {
			return lbtest.Refused(req)
		}
		return http.StatusOK, nil
	}}
	for _, policy := range []string{"wrr", "round_robin"} { // of Ballast and of Caddy
		p, err := lbtest.Load(t, nil, proxy(policy, dials("a:1")), backends)
		if err != nil {
			t.Fatal(err)
		}
		r := p.Serve(newRequest())
		if reason := r.Placeholder("reason"); r.Err != nil || reason != "" {
			t.Errorf("%s: %v, reason %q after a retry that succeeded", policy, r.Err, reason)
		}
		p.LoadBalancing.Retries = 0
		r = p.Serve(newRequest())
		if reason := r.Placeholder("reason"); r.Err == nil || reason != "attempt_failed" {
			t.Errorf("%s: %v, reason %q after an attempt that failed", policy, r.Err, reason)
		}
		healed = false
	}
}

// Probes speak as the proxy does, whether the addresses say so or the transport.
func TestProbesFollowTheScheme(t *testing.T) {
	for _, tt := range []struct{ transport, address, want string }{
		{`"protocol":"http"`, "a:1", ""},
		{`"protocol":"http"`, "https://a:1", "https"},
		{`"protocol":"http","tls":{}`, "a:1", "https"},
		{`"protocol":"http","versions":["h2c","2"]`, "h2c://a:1", "h2c"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			load(t, nil, `{"transport":{`+tt.transport+`},"dynamic_upstreams":{"source":"pool",`+dials(tt.address)+","+check(t, "")+`}}`)
			seconds(0.5)
			if got := w.schemes["a:1"]; got != tt.want {
				t.Errorf("%+v: probes speak %q", tt, got)
			}
		})
	}
}
