// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() { caddy.RegisterModule(new(hooked)) }

// hooked is a policy that takes the upstreams by turns, and calls a function before it returns one.
type hooked struct{ calls int }

var hook func(address string)

func (*hooked) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.hooked", New: func() caddy.Module { return new(hooked) }}
}

func (h *hooked) Select(upstreams reverseproxy.UpstreamPool, _ *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	h.calls++
	u := upstreams[h.calls%len(upstreams)]
	if hook != nil {
		hook(u.Dial)
	}
	return u
}

// hookedBy sets the hook for the rest of a test.
func hookedBy(t *testing.T, f func(address string)) {
	hook = f
	t.Cleanup(func() { hook = nil })
}

const hedgeAll = `"hedge":{"quantile":0.5,"max":1}`

// expectRefused checks how many requests of the pool were refused, for any reason.
func expectRefused(t *testing.T, p *lbtest.Proxy, want float64) {
	t.Helper()
	if n := p.Metric(t, "caddy_ballast_pool_refused_total"); n != want {
		t.Errorf("%v requests were refused, want %v", n, want)
	}
}

// A second attempt gets a free slot or none: it does not wait in the queue, where it would delay requests.
func TestHedgeDoesNotWaitForSlots(t *testing.T) {
	for _, policy := range []string{`{"policy":"wrr"}`, `{"policy":"round_robin"}`, `{"policy":"rendezvous","key":"uri"}`} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHedging(t, policy, hedgeAll+`,"max_requests":1,"queue":{"size":10}`)
				h.warmUp(t, "GET")
				quick := lateBy(300*ms, status(200))
				h.script = map[int]lbtest.Answerer{1: lateBy(550*ms, status(200)), 2: quick, 3: quick, 4: quick}
				var wg sync.WaitGroup
				send := func(within time.Duration) {
					wg.Go(func() {
						start := time.Now()
						if r := h.Serve(newRequest()); r.Status != 200 || time.Since(start) > within {
							t.Errorf("%d %v after %v, want 200 within %v", r.Status, r.Err, time.Since(start), within)
						}
					})
					synctest.Wait()
				}
				send(550 * ms)
				send(300 * ms)
				send(300 * ms)
				time.Sleep(250 * ms) // the first is late, and all backends are full
				if n := h.Metric(t, "caddy_ballast_pool_queue_length"); n != 0 {
					t.Errorf("%v second attempts wait", n)
				}
				send(350 * ms) // waits for 50 ms
				wg.Wait()
				if n := h.Metric(t, "caddy_ballast_pool_queued_total"); n != 1 {
					t.Errorf("%v have waited, want 1", n)
				}
				expectRefused(t, h.Proxy, 0)
				expectNothingTaken(t, "web")
			})
		})
	}
}

// While no other backend can take a second attempt, it uses up no budget, so that retries are left.
func TestHedgeWithoutAnotherBackendCostsNoBudget(t *testing.T) {
	for _, policy := range []string{`{"policy":"wrr"}`, `{"policy":"least_conn"}`} {
		synctest.Test(t, func(t *testing.T) {
			h := newHedging(t, policy, hedgeAll+`,"retry":{"tries":1,"on":["503"]},"retry_budget":{"ratio":0,"min":1}`)
			h.warmUp(t, "GET")
			operate(t, "b:1", drain)
			operate(t, "c:1", drain)
			h.script = make(map[int]lbtest.Answerer)
			for n := range 20 {
				h.script[n+1] = lateBy(200*ms, status(200))
			}
			h.script[21] = status(503)
			for range 20 {
				h.Serve(newRequest())
			}
			if r := h.Serve(newRequest()); r.Status != 200 || len(h.all) != 22 {
				t.Errorf("%s: %d after %d attempts, want a retry", policy, r.Status, len(h.all))
			}
			expectRefused(t, h.Proxy, 0)
		})
	}
}

// A second attempt wins with an interim response, and breaks: that is a failure, and the request is retried.
func TestRetryAfterABrokenWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, "", hedge95+`,"retry":{"tries":1,"on":["reset"],"backoff":"1ms"}`)
		h.warmUp(t, "GET")
		h.script = map[int]lbtest.Answerer{1: lateBy(15*ms, status(503)), 2: func(req *http.Request) (int, error) {
			lbtest.Wait(req.Context(), 10*ms)
			_ = httptrace.ContextClientTrace(req.Context()).Got1xxResponse(103, textproto.MIMEHeader{})
			return 0, syscall.ECONNRESET
		}}
		w, repl := &interimRecorder{ResponseRecorder: httptest.NewRecorder()}, caddy.NewReplacer()
		if err := h.Handler.ServeHTTP(w, lbtest.Prepare(newRequest(), repl, w), nil); err != nil || w.Code != 200 || len(h.all) != 3 {
			t.Errorf("%d %v after attempts at %v, want 200 after three", w.Code, err, h.addresses())
		}
		if got, _ := repl.GetString("http.ballast.attempts"); !matches(got, ":503:15ms,:reset,:200:10ms*") {
			t.Errorf("{http.ballast.attempts} is %q", got)
		}
		expectNothingTaken(t, "web")
	})
}

// A backend becomes full just after Caddy's policy has chosen it for the second attempt: there is none then, and no
// answer to a refused gRPC request, which would win.
func TestRefusedSecondAttemptDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, `{"policy":"hooked"}`, hedge95[:len(hedge95)-1]+`,"match":[{"method":["POST"]}]},"max_requests":1`)
		h.warmUp(t, "POST")
		var first string
		taken := 0
		hookedBy(t, func(address string) {
			if first == "" {
				first = address
			} else if pool.Current("web").Find(address).Take() {
				taken++
			}
		})
		h.script = map[int]lbtest.Answerer{1: lateBy(200*ms, grpcStatus("0"))}
		req := httptest.NewRequest(http.MethodPost, "http://x/", strings.NewReader("x"))
		req.ProtoMajor = 2
		req.Header.Set("Content-Type", "application/grpc")
		if r := h.Serve(req); r.Header().Get("Grpc-Status") != "0" || len(h.all) != 1 || taken == 0 {
			t.Errorf("grpc-status %q after attempts at %v", r.Header().Get("Grpc-Status"), h.addresses())
		}
		expectRefused(t, h.Proxy, 0)
	})
}

// The first attempt waits for a slot when the second one answers: the client has its answer, and nobody has left.
func TestHedgeOfAnAttemptThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, `{"policy":"hooked"}`, hedgeAll+`,"max_requests":1,"queue":{"size":10}`)
		h.warmUp(t, "GET")
		took := false
		hookedBy(t, func(address string) {
			if !took {
				took = pool.Current("web").Find(address).Take()
			}
		})
		if r := h.Serve(newRequest()); r.Status != 200 || len(h.all) != 1 || r.Placeholder("reason") != "" {
			t.Errorf("%d %v with reason %q after attempts at %v", r.Status, r.Err, r.Placeholder("reason"), h.addresses())
		}
		synctest.Wait()
		expectRefused(t, h.Proxy, 0)
		if n := pool.Current("web").Totals(); n.Waiting != 0 || n.Waits != 1 {
			t.Errorf("%d wait, and %d have waited", n.Waiting, n.Waits)
		}
	})
}

// 100 Continue says nothing about the answer: it reaches the client, and the request gets a second attempt.
func TestHedgeAfter100Continue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, "", `"hedge":{"quantile":0.95,"match":[{"method":["PUT"]}]}`)
		h.warmUp(t, "PUT")
		continued := func(d time.Duration) lbtest.Answerer {
			return func(req *http.Request) (int, error) {
				_ = httptrace.ContextClientTrace(req.Context()).Got1xxResponse(100, textproto.MIMEHeader{"Link": {"x"}})
				return lateBy(d, status(200))(req)
			}
		}
		h.script = map[int]lbtest.Answerer{1: continued(time.Second), 2: continued(5 * ms)}
		w := &interimRecorder{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequest(http.MethodPut, "http://x/", strings.NewReader("hello"))
		req.Header.Set("Expect", "100-continue")
		start := time.Now()
		if err := h.Handler.ServeHTTP(w, lbtest.Prepare(req, caddy.NewReplacer(), w), nil); err != nil || w.Code != 200 {
			t.Fatal(w.Code, err)
		}
		if len(w.links) != 1 || len(h.all) != 2 || time.Since(start) > 17*ms {
			t.Errorf("%d times 100 Continue, attempts at %v, after %v", len(w.links), h.addresses(), time.Since(start))
		}
	})
}
