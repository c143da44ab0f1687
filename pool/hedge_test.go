// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// hedging is a proxy to three backends of a pool that hedges, and what came to them.
type hedging struct {
	*lbtest.Proxy
	diary
	script map[int]lbtest.Answerer // by the number of the attempt since warmUp, from 1; else 10 ms
	n      int
}

func newHedging(t *testing.T, policy, pool string) *hedging {
	t.Helper()
	h := &hedging{diary: diary{began: time.Now()}}
	backends := make(lbtest.Backends)
	for _, address := range []string{"a:1", "b:1", "c:1"} {
		backends[address] = h.of(address, func(req *http.Request) (int, error) {
			h.mu.Lock()
			h.n++
			answer := h.script[h.n]
			h.mu.Unlock()
			if answer == nil {
				answer = lbtest.Latency(10 * ms)
			}
			return answer(req)
		})
	}
	if pool != "" {
		pool = "," + pool
	}
	p, err := lbtest.Load(t, caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"web":{` + dials("a:1", "b:1", "c:1") + pool + `}}}`)},
		`{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":`+cmp.Or(policy, `{"policy":"wrr"}`)+`},"dynamic_upstreams":{"source":"pool","name":"web"}}`, backends)
	if err != nil {
		t.Fatal(err)
	}
	h.Proxy = p
	return h
}

// warmUp sends requests for 5 s, so that it is known that answers take 10 ms: up to 11.25 ms, as
// quantiles are known to 12.5 %.
func (h *hedging) warmUp(t *testing.T, method string) {
	t.Helper()
	for n := range 250 {
		if r := h.Serve(httptest.NewRequest(method, fmt.Sprint("http://x/", n), nil)); r.Status != http.StatusOK {
			t.Fatalf("%d %v", r.Status, r.Err)
		}
		time.Sleep(10 * ms)
	}
	h.all, h.n = nil, 0
}

const hedge95 = `"hedge":{"quantile":0.95}`

func lateBy(d time.Duration, f lbtest.Answerer) lbtest.Answerer {
	return func(req *http.Request) (int, error) {
		lbtest.Wait(req.Context(), d)
		return f(req)
	}
}

// Which requests get a second attempt, and whose answer counts.
func TestHedge(t *testing.T) {
	ok := status(http.StatusOK)
	late := lateBy(time.Second, ok)
	quick := lateBy(5*ms, ok)
	for name, tt := range map[string]struct {
		policy, pool  string // the pool's options; hedge95 by default
		method, body  string
		warm          string // the method of the requests before, GET by default
		field         string // of the request
		first, second lbtest.Answerer
		tries         int
		want          int
		took          time.Duration // at most
		attempts      string        // the placeholder, without the backends
	}{
		"in time":                       {first: lateBy(9*ms, ok), tries: 1, want: 200, took: 9 * ms, attempts: ":200:9ms*"},
		"late":                          {first: late, second: quick, tries: 2, want: 200, took: 17 * ms, attempts: ":cancelled,:200:5ms*"},
		"late, but before the second":   {first: lateBy(20*ms, ok), second: late, tries: 2, want: 200, took: 20 * ms, attempts: ":200:20ms*,:cancelled"},
		"HEAD":                          {method: "HEAD", first: late, second: quick, tries: 2, want: 200, took: 17 * ms},
		"POST":                          {method: "POST", body: "x", first: late, tries: 1, want: 200, took: time.Second},
		"PUT":                           {method: "PUT", first: late, tries: 1, want: 200, took: time.Second},
		"POST that is matched":          {pool: `"hedge":{"quantile":0.95,"match":[{"method":["POST"]}]}`, method: "POST", warm: "POST", body: "x", first: late, second: quick, tries: 2, want: 200, took: 17 * ms},
		"GET that is not matched":       {pool: `"hedge":{"quantile":0.95,"match":[{"method":["POST"]}]}`, warm: "POST", first: late, tries: 1, want: 200, took: time.Second},
		"a body that is too large":      {pool: `"hedge":{"quantile":0.95,"match":[{"method":["PUT"]}]}`, method: "PUT", warm: "PUT", body: strings.Repeat("x", 64_001), first: late, tries: 1, want: 200, took: time.Second},
		"an upgrade":                    {field: "Upgrade", first: late, tries: 1, want: 200, took: time.Second},
		"Caddy's round_robin":           {policy: `{"policy":"round_robin"}`, first: late, second: quick, tries: 2, want: 200, took: 17 * ms},
		"Caddy's least_conn":            {policy: `{"policy":"least_conn"}`, first: late, second: quick, tries: 2, want: 200, took: 17 * ms},
		"a hash":                        {policy: `{"policy":"rendezvous","key":"uri"}`, first: late, second: quick, tries: 2, want: 200, took: 17 * ms},
		"longer than the minimum":       {pool: `"hedge":{"quantile":0.95,"min":"50ms"}`, first: lateBy(49*ms, ok), tries: 1, want: 200, took: 49 * ms},
		"without budget for retries":    {pool: hedge95 + `,"retry_budget":{"ratio":0,"min":0}`, first: late, tries: 1, want: 200, took: time.Second},
		"in panic mode":                 {pool: hedge95 + `,"panic":1`, first: late, second: quick, tries: 2, want: 200, took: 17 * ms}, // all are healthy
		"503 before the first":          {first: lateBy(30*ms, ok), second: status(503), tries: 2, want: 200, took: 30 * ms, attempts: ":200:30ms*,:503:0s"},
		"503 of the first, late":        {first: lateBy(13*ms, status(503)), second: quick, tries: 2, want: 200, took: 17 * ms, attempts: ":503:13ms,:200:5ms*"},
		"503 of the first, in time":     {first: lateBy(5*ms, status(503)), tries: 1, want: 503, took: 5 * ms},
		"reset of the first, late":      {first: lateBy(13*ms, broken), second: quick, tries: 2, want: 200, took: 17 * ms, attempts: ":reset:13ms,:200:5ms*"},
		"reset of the second":           {first: lateBy(30*ms, ok), second: broken, tries: 2, want: 200, took: 30 * ms, attempts: ":200:30ms*,:reset:0s"},
		"503 and reset":                 {first: lateBy(30*ms, broken), second: status(503), tries: 2, want: 503, took: 30 * ms, attempts: ":reset:30ms,:503:0s*"},
		"503 of both":                   {first: lateBy(30*ms, status(503)), second: status(502), tries: 2, want: 503, took: 30 * ms, attempts: ":503:30ms*,:502:0s"},
		"a status of retry":             {pool: hedge95 + `,"retry":{"tries":1,"on":["404"]}`, first: lateBy(30*ms, ok), second: status(404), tries: 2, want: 200, took: 30 * ms},
		"both fail, and a third does":   {pool: hedge95 + `,"outliers":{"off":true},"retry":{"tries":1,"on":["503"],"backoff":"1ms"}`, first: lateBy(13*ms, status(503)), second: status(503), tries: 3, want: 200, took: 30 * ms},
		"a timeout of both":             {pool: hedge95 + `,"retry":{"tries":1,"timeout":"100ms"}`, first: hang, second: hang, tries: 2, want: 504, took: 112 * ms},
		"the first hangs with retry on": {pool: hedge95 + `,"retry":{"tries":1,"on":["timeout"],"timeout":"100ms"}`, first: hang, second: quick, tries: 2, want: 200, took: 17 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHedging(t, tt.policy, cmp.Or(tt.pool, hedge95))
				h.warmUp(t, cmp.Or(tt.warm, "GET"))
				h.script = map[int]lbtest.Answerer{1: tt.first, 2: tt.second}
				req := httptest.NewRequest(cmp.Or(tt.method, "GET"), "http://x/", nil)
				if tt.body != "" {
					req = httptest.NewRequest(tt.method, "http://x/", strings.NewReader(tt.body))
				}
				if tt.field != "" {
					req.Header.Set("Connection", tt.field)
					req.Header.Set(tt.field, "websocket")
				}
				start := time.Now()
				r := h.Serve(req)
				took := time.Since(start)
				synctest.Wait() // the attempt that has lost may be under way
				if r.Status != tt.want || len(h.all) != tt.tries || took > tt.took {
					t.Fatalf("%d after %v and attempts at %v (%v), want %d within %v after %d", r.Status, took, h.addresses(), r.Err, tt.want, tt.took, tt.tries)
				}
				for _, a := range h.all {
					if a.body != tt.body {
						t.Errorf("%s got the body %q, want %q", a.address, a.body, tt.body)
					}
				}
				if all := h.addresses(); len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
					t.Errorf("it was sent to %v: to one twice", all)
				}
				got := r.Placeholder("attempts")
				if who := r.Header().Get("X-Upstream"); r.Status == 200 && r.Placeholder("backend") != who {
					t.Errorf("the placeholder names %s, but %s answered", r.Placeholder("backend"), who)
				}
				if r.Status == 200 && r.Placeholder("reason") != "" {
					t.Errorf("the reason is %q", r.Placeholder("reason"))
				}
				if tt.attempts != "" && !matches(got, tt.attempts) {
					t.Errorf("{http.ballast.attempts} is %q, want %q", got, tt.attempts)
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				expectNothingTaken(t, "web")
			})
		})
	}
}

// A request whose answer binds a session has one attempt, and so has each request of that session, also where the
// delay is known from requests of another proxy.
func TestHedgeOfSessions(t *testing.T) {
	const sticky = `{"policy":"sticky",`
	for name, tt := range map[string]struct {
		policy, field string
		kept          string // the placeholder of the second request
	}{
		"a header":        {policy: sticky + `"header":"X-S"}`, field: "X-S", kept: "kept"},
		"a cookie":        {policy: sticky + `"cookie":{"secret":"0123456789abcdef0123456789abcdef"}}`, field: "Cookie", kept: "kept"},
		"Caddy's ip_hash": {policy: `{"policy":"ip_hash"}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hedging{diary: diary{began: time.Now()}}
				wait := 10 * ms
				backends := make(lbtest.Backends)
				for _, address := range []string{"a:1", "b:1", "c:1"} {
					backends[address] = h.of(address, func(req *http.Request) (int, error) { return lbtest.Latency(wait)(req) })
				}
				proxy := func(policy string) string {
					return `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":` + policy + `},"dynamic_upstreams":{"source":"pool","name":"web"}}`
				}
				all, err := lbtest.LoadAll(t, caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"web":{` + dials("a:1", "b:1", "c:1") + `,"hedge":{"quantile":0.95,"max":1}}}}`)},
					backends, proxy(`{"policy":"wrr"}`), proxy(tt.policy))
				if err != nil {
					t.Fatal(err)
				}
				h.Proxy = all[0]
				h.warmUp(t, "GET")
				wait = 100 * ms
				for n := range 20 {
					h.all = nil
					req := newRequest()
					if tt.field == "X-S" {
						req.Header.Set("X-S", fmt.Sprint(n))
					}
					first := all[1].Serve(req)
					if tt.field == "Cookie" {
						for _, c := range first.Result().Cookies() {
							req.AddCookie(c)
						}
					}
					again := all[1].Serve(req)
					if len(h.all) != 2 || h.all[0].address != h.all[1].address || again.Placeholder("session") != tt.kept {
						t.Fatalf("session %d: attempts at %v, %s and %s", n, h.addresses(), first.Placeholder("session"), again.Placeholder("session"))
					}
				}
			})
		})
	}
}

// matches reports whether attempts have the given ends, of which those without a time may have any.
func matches(attempts, ends string) bool {
	all, want := strings.Split(attempts, ","), strings.Split(ends, ",")
	return slices.EqualFunc(all, want, func(attempt, end string) bool {
		return strings.HasSuffix(attempt, end) || strings.Contains(attempt, end+":")
	})
}

// A body that the client still sends cannot be sent to a second backend.
func TestHedgeNeedsTheWholeBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, "", `"hedge":{"quantile":0.95,"match":[{"method":["PUT"]}]}`)
		h.warmUp(t, "PUT")
		body, client := io.Pipe()
		go func() {
			_, _ = io.WriteString(client, "he")
			time.Sleep(time.Second)
			_, _ = io.WriteString(client, "llo")
			client.Close()
		}()
		req := httptest.NewRequest(http.MethodPut, "http://x/", body)
		if r := h.Serve(req); r.Status != 200 || len(h.all) != 1 || h.all[0].body != "hello" {
			t.Errorf("%d after %v", r.Status, h.all)
		}
	})
}

// A backend whose answers are late gets a second attempt for each, although half of all answers are
// its own: its own latencies do not count. The others get none.
func TestHedgeOfASlowBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backends := lbtest.Backends{"a:1": lbtest.Latency(100 * ms), "b:1": lbtest.Latency(10 * ms), "c:1": lbtest.Latency(10 * ms)}
		p := pooled(t, wrr, "", `"hedge":{"quantile":0.95,"max":1}`, backends)
		send := func(n int) (late int) {
			for range n {
				start := time.Now()
				if r := p.Serve(newRequest()); r.Status != 200 {
					t.Fatalf("%d %v", r.Status, r.Err)
				}
				if time.Since(start) > 25*ms {
					late++
				}
				time.Sleep(10 * ms)
			}
			return late
		}
		send(300)
		if late := send(300); late > 0 {
			t.Errorf("%d of 300 requests were late", late)
		}
		won := p.Metric(t, "caddy_ballast_pool_retries_total", "trigger", "hedge", "result", "won")
		if all := p.Metric(t, "caddy_ballast_pool_retries_total", "trigger", "hedge"); won < 100 || all != won {
			t.Errorf("%v of %v second attempts won, want those of the slow backend", won, all)
		}
	})
}

// The attempt that loses is neither a success nor an error of its backend.
func TestHedgeLoserDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, "", hedge95+`,"outliers":{"consecutive_errors":1}`)
		h.warmUp(t, "GET")
		before := h.Metric(t, "caddy_ballast_backend_responses_total")
		h.script = map[int]lbtest.Answerer{1: hang}
		if r := h.Serve(newRequest()); r.Status != 200 {
			t.Fatal(r.Status, r.Err)
		}
		synctest.Wait()
		loser := h.all[0].address
		for _, failed := range h.Samples(t, "caddy_ballast_backend_failures_total") {
			if failed.Value != 0 {
				t.Errorf("%v failures: %v", failed.Value, failed.Labels)
			}
		}
		if n := h.Metric(t, "caddy_ballast_backend_responses_total") - before; n > 2 {
			t.Errorf("%v responses for one request", n)
		}
		if n := h.Metric(t, "caddy_ballast_backend_client_gone_total", "backend", loser); n != 1 {
			t.Errorf("%v attempts of the loser were given up, want 1", n)
		}
	})
}

// Interim responses of the attempt that loses do not reach the client. Those of the only attempt do,
// and then there is no second one.
func TestHedgeInterimResponses(t *testing.T) {
	hint := func(by string, wait time.Duration) lbtest.Answerer {
		return func(req *http.Request) (int, error) {
			_ = httptrace.ContextClientTrace(req.Context()).Got1xxResponse(103, textproto.MIMEHeader{"Link": {by}})
			lbtest.Wait(req.Context(), wait)
			return 200, nil
		}
	}
	for name, tt := range map[string]struct {
		first, second lbtest.Answerer
		want          []string
		tries         int
	}{
		"of the first, before it is late": {first: hint("first", 100*ms), want: []string{"first"}, tries: 1},
		"of the first, after the second":  {first: lateBy(15*ms, hint("first", 100*ms)), second: hint("second", 10*ms), want: []string{"second"}, tries: 2},
		"of the second, after the first":  {first: lateBy(15*ms, hint("first", 10*ms)), second: lateBy(10*ms, hint("second", 0)), want: []string{"first"}, tries: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHedging(t, "", hedge95)
				h.warmUp(t, "GET")
				h.script = map[int]lbtest.Answerer{1: tt.first, 2: tt.second}
				w := &interimRecorder{ResponseRecorder: httptest.NewRecorder()}
				req := lbtest.Prepare(newRequest(), caddy.NewReplacer(), w)
				if err := h.Handler.ServeHTTP(w, req, nil); err != nil || w.Code != 200 {
					t.Fatal(w.Code, err)
				}
				synctest.Wait()
				if !slices.Equal(w.links, tt.want) || len(h.all) != tt.tries {
					t.Errorf("interim responses of %v after %d attempts, want %v after %d", w.links, len(h.all), tt.want, tt.tries)
				}
			})
		})
	}
}

// interimRecorder records interim responses, too.
type interimRecorder struct {
	*httptest.ResponseRecorder
	links []string
}

func (w *interimRecorder) WriteHeader(code int) {
	if code >= 100 && code < 200 {
		w.links = append(w.links, w.Header().Get("Link"))
		return
	}
	w.ResponseRecorder.WriteHeader(code)
}

// Each attempt has the options header_up, the placeholders and the TLS name of its own backend.
func TestHedgeEvaluatesHeaderUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &diary{began: time.Now()}
		backends := make(lbtest.Backends)
		slow := false
		for _, address := range []string{"a:1", "b:1", "c:1"} {
			backends[address] = h.of(address, func(req *http.Request) (int, error) {
				h.mu.Lock()
				wait := 10 * ms
				if slow {
					slow, wait = false, time.Second
				}
				h.mu.Unlock()
				lbtest.Wait(req.Context(), wait)
				return 200, nil
			})
		}
		p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},
			"headers":{"request":{"set":{"To":["{http.reverse_proxy.upstream.hostport}"],"Backend":["{http.ballast.backend}"],"Try":["{http.ballast.tries}"]}}},
			"dynamic_upstreams":{"source":"pool",`+dials("a:1", "b:1", "c:1")+`,`+hedge95+`}}`, backends)
		if err != nil {
			t.Fatal(err)
		}
		for range 250 {
			p.Serve(newRequest())
			time.Sleep(10 * ms)
		}
		h.all, slow = nil, true
		r := p.Serve(newRequest())
		if len(h.all) != 2 {
			t.Fatalf("%d attempts", len(h.all))
		}
		for i, a := range h.all {
			if a.header.Get("To") != a.address || a.header.Get("Backend") != a.address || a.header.Get("Try") != fmt.Sprint(i+1) {
				t.Errorf("attempt %d, on %s, got %v", i+1, a.address, a.header)
			}
		}
		if got, _ := r.Placeholders.GetString("http.reverse_proxy.upstream.hostport"); got != h.all[1].address {
			t.Errorf("the placeholder names %s, want %s", got, h.all[1].address)
		}
	})
}

// There are never more second attempts than the share, in any 10 s, also when far more requests are
// late.
func TestHedgeShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var requests, attempts []time.Duration
		began := time.Now()
		backends := make(lbtest.Backends)
		for _, address := range []string{"a:1", "b:1", "c:1"} {
			backends[address] = func(req *http.Request) (int, error) {
				mu.Lock()
				wait := 10 * ms
				if address == "a:1" { // a third of the answers are late
					wait = 100 * ms
				}
				attempts = append(attempts, time.Since(began))
				mu.Unlock()
				lbtest.Wait(req.Context(), wait)
				return 200, nil
			}
		}
		p := pooled(t, wrr, "", `"outliers":{"off":true},"hedge":{"quantile":0.5,"max":0.05}`, backends)
		var wg sync.WaitGroup
		for range 6000 {
			requests = append(requests, time.Since(began))
			wg.Go(func() { p.Serve(newRequest()) })
			time.Sleep(10 * ms)
		}
		wg.Wait()
		within := func(all []time.Duration, from, to time.Duration) (n int) {
			for _, d := range all {
				if d >= from && d < to {
					n++
				}
			}
			return n
		}
		for from := time.Duration(0); from < 60*time.Second; from += 500 * ms {
			sent, of := within(attempts, from, from+10*time.Second), within(requests, from-10*time.Second, from+10*time.Second)
			// A second attempt of the window may belong to a request of just before.
			if extra, most := sent-within(requests, from, from+10*time.Second), 0.05*float64(min(of, 1010)); float64(extra) > most {
				t.Errorf("%d second attempts from %v on, want %v at most", extra, from, most)
			}
		}
		if extra := len(attempts) - len(requests); extra < 100 {
			t.Errorf("%d second attempts in all, want most of 5 %% of 6000", extra)
		}
		if p.Metric(t, "caddy_ballast_pool_retries_total", "trigger", "hedge", "result", "refused") < 100 {
			t.Error("requests without a second attempt are not counted")
		}
	})
}

// While all backends are full, a second attempt would take the place of a request that waits.
func TestNoHedgeWhileSaturated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, "", hedge95+`,"max_requests":1,"queue":{"size":10}`)
		h.warmUp(t, "GET")
		h.script = make(map[int]lbtest.Answerer)
		for n := range 20 {
			h.script[n] = lateBy(100*ms, status(200))
		}
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { h.Serve(newRequest()) })
		}
		wg.Wait()
		if len(h.all) != 6 {
			t.Errorf("%d attempts for 6 requests", len(h.all))
		}
	})
}

// A second attempt gets a free slot or none, and no slot is lost whoever wins.
func TestHedgeReturnsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, `{"policy":"p2c"}`, `"hedge":{"quantile":0.5,"max":1,"min":"1ms"},"max_requests":4,"queue":{"size":100,"timeout":"10s"}`)
		h.warmUp(t, "GET")
		h.script = make(map[int]lbtest.Answerer)
		for n := range 3000 {
			switch n % 5 {
			case 0:
				h.script[n] = lateBy(40*ms, status(200))
			case 1:
				h.script[n] = lateBy(15*ms, broken)
			}
		}
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { h.Serve(newRequest()) })
			time.Sleep(2 * ms)
		}
		wg.Wait()
		synctest.Wait()
		expectNothingTaken(t, "web")
		results := make(map[string]float64)
		for _, s := range h.Samples(t, "caddy_ballast_pool_retries_total") {
			if s.Labels["trigger"] == "hedge" {
				results[s.Labels["result"]] = s.Value
			}
		}
		if results["won"] == 0 || results["lost"] == 0 {
			t.Errorf("second attempts: %v", maps.Clone(results))
		}
	})
}
