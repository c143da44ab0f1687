// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	weakrand "math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

func init() { caddy.RegisterModule(new(pondering)) }

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
