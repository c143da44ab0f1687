// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	weakrand "math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

func init() { caddy.RegisterModule(new(pondering)) }

// lateError answers with a status at once, and sends the body after d.
func lateError(code int, d time.Duration) lbtest.Answerer {
	return func(req *http.Request) (int, error) {
		_, _ = lbtest.LateBody(d)(req)
		return code, nil
	}
}

// leaving sends n requests, 100 a second, whose clients leave after patience.
func leaving(p *lbtest.Proxy, n int, patience time.Duration) {
	for range n {
		go func() {
			defer func() { _ = recover() }() // Caddy aborts the response
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			p.Serve(newRequest().WithContext(ctx))
		}()
		time.Sleep(10 * ms)
	}
}

// An error status of an answer whose body is given up counts: `retry` has given it up for another answer, or its
// client has left.
func TestErrorWithALateBodyCounts(t *testing.T) {
	for name, tt := range map[string]struct {
		pool     string
		patience time.Duration
	}{
		"retried":         {`"retry":{"tries":1,"on":["503"]}`, time.Minute},
		"the client left": {"", 20 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pooled(t, wrr, "", tt.pool, three(lateError(503, 100*ms)))
				seen := events(t, p)
				leaving(p, 100, tt.patience)
				seconds(1)
				if count(seen(), "backend_ejected") != 1 {
					t.Errorf("events: %v", seen())
				}
			})
		})
	}
}

// A trial that is answered with an error ends, also if its client leaves before it has read the body.
func TestTrialEndsWithoutItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var healthy atomic.Bool
		p := pooled(t, wrr, "", `"name":"web","outliers":{"eject_for":"2s","max_eject_for":"2s"}`, three(func(req *http.Request) (int, error) {
			if healthy.Load() {
				return lbtest.Latency(fast)(req)
			}
			return lateError(503, 100*ms)(req)
		}))
		seen := events(t, p)
		eject(t, "a:1")
		leaving(p, 500, 20*ms)
		healthy.Store(true)
		leaving(p, 500, 20*ms)
		if count(seen(), "backend_returned") != 1 {
			t.Errorf("events: %v", seen())
		}
	})
}

// eject ejects a backend of the pool web.
func eject(t *testing.T, address string) {
	t.Helper()
	member(t, address).Eject(clock.Now(), pool.Current("web").Options().Outliers, "test", false)
}

// Requests of the configuration before that fail after a reload has turned outliers off eject nobody.
func TestOutliersTurnedOffDuringAttempts(t *testing.T) {
	for name, trial := range map[string]bool{"errors": false, "a trial": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failing atomic.Bool
				failing.Store(true)
				backends := three(func(req *http.Request) (int, error) {
					if !failing.Load() {
						return 200, nil
					}
					lbtest.Wait(req.Context(), time.Second)
					return lbtest.Refused(req)
				})
				old := pooled(t, wrr, "", `"name":"web","outliers":{"eject_for":"1s"}`, backends)
				if trial {
					eject(t, "a:1")
					seconds(1.3)
				}
				go traffic{rate: 100, length: 500 * ms}.send(old)
				seconds(0.6)
				if trial && member(t, "a:1").EjectionState() != outlier.Probing {
					t.Fatal(member(t, "a:1").EjectionState())
				}
				next := pooled(t, wrr, "", `"name":"web","outliers":{"off":true}`, backends)
				old.Close()
				seconds(2)
				failing.Store(false)
				expectServed(t, next, "a:1", "b:1", "c:1")
			})
		})
	}
}

// A trial that hangs fails, and another request is not the next trial at once, although each is hedged.
func TestHedgedTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		var asked atomic.Int32
		backends := lbtest.Backends{"b:1": lbtest.Latency(10 * ms), "c:1": lbtest.Latency(10 * ms), "a:1": func(req *http.Request) (int, error) {
			asked.Add(1)
			if hangs.Load() {
				return hang(req)
			}
			return lbtest.Latency(10 * ms)(req)
		}}
		p := pooled(t, wrr, "", `"name":"web","hedge":{"quantile":0.95,"max":1}`, backends)
		seen := events(t, p)
		traffic{rate: 100, length: 10 * time.Second}.send(p)
		hangs.Store(true)
		eject(t, "a:1")
		asked.Store(0)
		if got := (traffic{rate: 100, length: 60 * time.Second}).send(p); got.lost > 0 || asked.Load() != 1 {
			t.Errorf("%d requests were lost, and %d were trials, want 1", got.lost, asked.Load())
		}
		if count(seen(), "backend_ejected") != 2 {
			t.Errorf("events: %v", seen())
		}
	})
}

// A late request that no other backend can take uses nothing of the retry budget.
func TestHedgeWithoutASecondBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		takes := 10 * ms
		answer := func(req *http.Request) (int, error) { return lbtest.Latency(takes)(req) }
		p := pooled(t, wrr, "", `"hedge":{"quantile":0.95,"max":1},"retry_budget":{"ratio":0,"min":1},`+check(t, ""),
			lbtest.Backends{"a:1": answer, "b:1": answer, "c:1": answer})
		traffic{rate: 100, length: 10 * time.Second}.send(p)
		w.set(func() { w.sick["b:1"], w.sick["c:1"] = true, true })
		seconds(12) // until the budget is as new
		takes = 100 * ms
		traffic{rate: 10, length: 5 * time.Second}.send(p)
		if n := p.Metric(t, "caddy_ballast_pool_retries_total", "trigger", "hedge", "result", "refused"); n > 0 {
			t.Errorf("the budget has refused %v second attempts", n)
		}
	})
}

// pondering is a policy that takes its time to choose a second backend.
type pondering struct{ busy atomic.Int32 }

var ponders pondering

func (*pondering) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.pondering", New: func() caddy.Module { return &ponders }}
}

func (p *pondering) Select(upstreams reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	p.busy.Add(1)
	defer p.busy.Add(-1)
	if len(proxyhook.Tried(r)) > 0 {
		time.Sleep(100 * ms)
	}
	return upstreams[weakrand.IntN(len(upstreams))]
}

// While a second attempt is prepared, which reads the variables of the request, no handler writes to them.
func TestHandlersAwaitThePreparationOfASecondAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedging(t, `{"policy":"pondering"}`, hedge95)
		h.warmUp(t, "GET")
		h.script = map[int]lbtest.Answerer{1: lateBy(50*ms, status(200))}
		r := h.Serve(newRequest())
		if r.Status != 200 || ponders.busy.Load() != 0 {
			t.Errorf("%d %v, while the second backend is chosen: %v", r.Status, r.Err, ponders.busy.Load() > 0)
		}
		if got := r.Placeholder("attempts"); !matches(got, ":200:50ms*") {
			t.Errorf("{http.ballast.attempts} is %q", got)
		}
	})
}

// The span of a response that `on_down close` ends has the kind of failure of the metrics.
func TestSpanOfAClosedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		p := load(t, nil, streamingProxy(`,"on_down":"close","guard":false,`+check(t, "")))
		seconds(0.1)
		req, _, spans := newTraced(t)
		req.URL.Path = "/events"
		go func() {
			defer func() { _ = recover() }() // Caddy aborts the response
			p.Serve(req)
		}()
		synctest.Wait()
		alter(t, "a:1", admin(health.Maint))
		synctest.Wait()
		if got := attributesOf(spans.Ended()[0])["error.type"].AsString(); got != "closed" {
			t.Errorf("the error type is %q", got)
		}
	})
}
