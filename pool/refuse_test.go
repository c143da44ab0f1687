// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// What no backend could take is counted in every pool, whatever its options, by the
// reason and nothing else; and the error, which Caddy logs, names the pool and the
// reason.
func TestRefusalsAreCounted(t *testing.T) {
	operate := func(state health.Admin, n int) func(*world) {
		return func(*world) {
			for _, b := range pool.Current("web").View().Members.All[:n] {
				_, _ = pool.Current("web").Manager().Change(b.ID, membership.Change{Admin: &state})
			}
		}
	}
	weightless := func(*world) {
		for _, b := range pool.Current("web").View().Members.All {
			_, _ = pool.Current("web").Manager().Change(b.ID, membership.Change{Weight: &membership.Override{Value: new(int)}})
		}
	}
	sick := func(w *world) { w.sick["a:1"], w.sick["b:1"] = true, true }
	for name, tt := range map[string]struct {
		pool   string
		happen func(*world)
		reason pool.Reason
	}{
		"all down":                   {dials("a:1", "b:1"), sick, pool.ReasonDown},
		"all in maintenance":         {dials("a:1", "b:1"), operate(health.Maint, 2), pool.ReasonMaintenance},
		"all drained":                {dials("a:1", "b:1"), operate(health.Drain, 2), pool.ReasonMaintenance},
		"all down and in maint":      {dials("a:1", "b:1"), func(w *world) { sick(w); operate(health.Maint, 2)(w) }, pool.ReasonMaintenance},
		"one down, one in maint":     {dials("a:1", "b:1"), func(w *world) { sick(w); operate(health.Maint, 1)(w) }, pool.ReasonDown},
		"one in maint, one weighs 0": {dials("a:1", "b:1"), func(w *world) { weightless(w); operate(health.Maint, 1)(w) }, pool.ReasonWeight},
		"all weigh 0":                {dials("a:1", "b:1"), weightless, pool.ReasonWeight},
		"nothing found":              {fmt.Sprintf(`"sources":[{"source":"fake","world":%q}]`, t.Name()), func(*world) {}, pool.ReasonEmpty},
	} {
		for _, policy := range oneOnly {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":`+policy+`},
					"dynamic_upstreams":{"source":"pool","name":"web","guard":false,`+tt.pool+","+check(t, "")+`}}`, abc)
				if err != nil {
					t.Fatal(err)
				}
				w.set(func() { tt.happen(w) })
				seconds(3)
				for range 7 {
					r := p.Serve(httptest.NewRequest("POST", "http://lbtest/", nil))
					if want := "no upstreams available: pool web: " + string(tt.reason); r.Err == nil || !strings.Contains(r.Err.Error(), "503") || !strings.Contains(r.Err.Error(), want) {
						t.Fatalf("%s, %s: error %v, want %q", name, policy, r.Err, want)
					}
					if got := r.Placeholder("reason"); got != string(tt.reason) {
						t.Errorf("%s, %s: reason %q", name, policy, got)
					}
				}
				want := make(map[string]int64)
				for _, reason := range pool.Reasons() {
					want[string(reason)] = 0
				}
				want[string(tt.reason)] = 7
				if got := report.OfPool(pool.Current("web")); got.Reason != string(tt.reason) || !maps.Equal(got.Refused, want) {
					t.Errorf("%s, %s: the pool has the reason %q and has refused %v, want %v", name, policy, got.Reason, got.Refused, want)
				}
				if got := report.Numbers(); got.Refused != 7 || len(got.Pools) != 1 || !maps.Equal(got.Pools[0].Refused, want) {
					t.Errorf("%s, %s: the numbers have %+v", name, policy, got.Pools)
				}
				p.Close()
			})
		}
	}
}

// A request that is refused is tried again as long as Caddy's options say, whatever
// its method, and the pool counts each time.
func TestRefusedRequestWaitsForABackend(t *testing.T) {
	for _, policy := range oneOnly {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.sick["a:1"] = true
			p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},
				"load_balancing":{"try_duration":"5s","try_interval":"100ms","selection_policy":`+policy+`},
				"dynamic_upstreams":{"source":"pool","name":"web","guard":false,`+dials("a:1")+","+check(t, "")+`}}`, abc)
			if err != nil {
				t.Fatal(err)
			}
			seconds(1.5)
			w.set(func() { w.sick["a:1"] = false })
			if res, err := p.Do(httptest.NewRequest("POST", "http://lbtest/", nil)); err != nil || res.Code != 200 {
				t.Errorf("%s: %v", policy, err)
			}
			if n := pool.Current("web").Totals().Refused[pool.ReasonDown]; n < 5 || n > 20 {
				t.Errorf("%s: counted %d refusals in the two seconds until two probes have passed", policy, n)
			}
			p.Close()
		})
	}
}

// Where an attempt has failed, the error is that of the attempt.
func TestRefusalAfterAFailedAttempt(t *testing.T) {
	for _, policy := range oneOnly {
		synctest.Test(t, func(t *testing.T) {
			p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"retries":2,"selection_policy":`+policy+`},
				"dynamic_upstreams":{"source":"pool","name":"web","retry_budget":{"ratio":0,"min":0},`+dials("a:1", "b:1")+`}}`,
				lbtest.Backends{"a:1": lbtest.Refused, "b:1": lbtest.Refused})
			if err != nil {
				t.Fatal(err)
			}
			r := p.Serve(httptest.NewRequest("POST", "http://lbtest/", nil))
			if reason := r.Placeholder("reason"); r.Err == nil || !strings.Contains(r.Err.Error(), "502: connection refused") || reason != "retry_budget" {
				t.Errorf("%s: %v, reason %q", policy, r.Err, reason)
			}
			if n := pool.Current("web").Totals().Refused[pool.ReasonBudget]; n != 2 {
				t.Errorf("%s: counted %d refusals of 2", policy, n)
			}
			p.Close()
		})
	}
}

func grpcRequest() *http.Request {
	req := httptest.NewRequest("POST", "http://lbtest/shop.Orders/List", nil)
	req.Header.Set("Content-Type", "application/grpc+proto")
	return req
}

// A gRPC request that is refused has an answer of gRPC, once Caddy tries no more: for
// as long as that may be, backends that come back are found.
func TestRefusedGRPC(t *testing.T) {
	for name, tt := range map[string]struct {
		retries string
		refused int64         // how often the pool refuses it at most
		after   time.Duration // when the answer comes
	}{
		"no retries":   {``, 1, 0},
		"retries":      {`"retries":3,`, 4, 0},
		"try_duration": {`"try_duration":"1s","try_interval":"100ms",`, 11, time.Second},
		"both":         {`"retries":2,"try_duration":"1s","try_interval":"100ms",`, 3, 200 * time.Millisecond},
	} {
		for _, policy := range append(oneOnly, `{"policy":"random"}`) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.sick["a:1"] = true
				p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},
					"load_balancing":{`+tt.retries+`"selection_policy":`+policy+`},
					"dynamic_upstreams":{"source":"pool","name":"web","guard":false,`+dials("a:1")+","+check(t, "")+`}}`, abc)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				seconds(3)
				began := time.Now()
				r := p.Serve(grpcRequest())
				if r.Err != nil || r.Code != 200 || r.Body.Len() != 0 {
					t.Fatalf("%s, %s: %v", name, policy, r.Err)
				}
				for field, want := range map[string]string{"Content-Type": "application/grpc", "Grpc-Status": "14", "Grpc-Message": "no upstreams available: pool web: all_down"} {
					if got := r.Header().Get(field); got != want {
						t.Errorf("%s, %s: %s is %q, want %q", name, policy, field, got, want)
					}
				}
				if got := r.Placeholder("reason"); got != "all_down" {
					t.Errorf("%s, %s: reason %q", name, policy, got)
				}
				if took := time.Since(began); took != tt.after {
					t.Errorf("%s, %s: answered after %v, want %v", name, policy, took, tt.after)
				}
				if n := pool.Current("web").Totals().Refused[pool.ReasonDown]; n != tt.refused {
					t.Errorf("%s, %s: the pool has refused %d times, want %d", name, policy, n, tt.refused)
				}
			})
		}
	}
}

// Routes that responses are handed to would take the answer for one of a backend, and
// forward_auth for consent.
func TestRefusedGRPCIsNoConsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},
			"handle_response":[{"match":{"status_code":[2]},"routes":[{"handle":[{"handler":"static_response","body":"let in"}]}]}],
			"dynamic_upstreams":{"source":"pool","name":"web","guard":false,`+dials("a:1")+","+check(t, "")+`}}`, abc)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		seconds(3)
		if res, err := p.Do(grpcRequest()); err == nil || !strings.Contains(err.Error(), "503") || res.Body.Len() != 0 {
			t.Errorf("got %q, %v, want an error with 503", res.Body, err)
		}
	})
}
