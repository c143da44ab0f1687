// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// both is a handler of connections and a reverse_proxy in front of one pool.
type both struct {
	*front
	proxy *lbtest.Proxy
}

func (n *network) loadBoth(t *testing.T, poolConfig string, took time.Duration) both {
	t.Helper()
	f, p := new(front), new(lbtest.Proxy)
	answers := lbtest.Backends{"a:1": lbtest.Latency(took), "b:1": lbtest.Latency(took)}
	var err error
	f.Config, err = lbtest.LoadConfig(t, caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"db":` + poolConfig + `}}`)}, answers, func(ctx caddy.Context) error {
		mod, err := ctx.LoadModuleByID("layer4.handlers.balance", json.RawMessage(`{"pool":"db","selection_policy":{"policy":"wrr"}}`))
		if err != nil {
			return err
		}
		f.handler = mod.(*Handler)
		if mod, err = ctx.LoadModuleByID("http.handlers.reverse_proxy", json.RawMessage(`{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"db"}}`)); err == nil {
			p.Handler = mod.(*reverseproxy.Handler)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Config, f.handler.dialer = f.Config, n
	return both{f, p}
}

// get sends a request, whose reply comes later.
func (b both) get() <-chan lbtest.Reply {
	reply := make(chan lbtest.Reply, 1)
	go func() { reply <- b.proxy.Serve(httptest.NewRequest(http.MethodGet, "http://x/", nil)) }()
	return reply
}

// Requests and connections share the slots of a backend, in one line, and what is known of its health.
func TestRequestsAndConnections(t *testing.T) {
	n := newNetwork("a:1", "b:1")
	synctest.Test(t, func(t *testing.T) {
		f := n.loadBoth(t, at(`"max_requests":1,"queue":{"size":10,"timeout":"1m"},"outliers":{"consecutive_errors":3,"eject_for":"1h","max_eject_for":"1h"}`, "a:1", "b:1"), 2*time.Second)
		first := f.call()
		on := first.line()
		request := f.get() // on the other
		synctest.Wait()
		a, b := f.backend(t, "a:1"), f.backend(t, "b:1")
		if a.Taken() != 1 || b.Taken() != 1 {
			t.Errorf("%d and %d slots are taken", a.Taken(), b.Taken())
		}
		waits := f.call()
		synctest.Wait()
		second := f.get()
		synctest.Wait()
		if r := <-request; r.Status != http.StatusOK {
			t.Errorf("the request got %d %v", r.Status, r.Err)
		}
		if got := waits.line(); got == on {
			t.Errorf("the connection that waited went to %s, whose slot is taken", got)
		}
		if a.Taken() != 1 || b.Taken() != 1 || len(second) != 0 {
			t.Errorf("%d and %d slots are taken, %d requests have ended", a.Taken(), b.Taken(), len(second))
		}
		_ = first.hangUp()
		if r := <-second; r.Status != http.StatusOK || r.Placeholder("backend") != on {
			t.Errorf("the request that waited got %d from %s", r.Status, r.Placeholder("backend"))
		}
		_ = waits.hangUp()

		n.serve("a:1", nil) // refuses connections, and would answer requests
		for range 10 {      // half of which begin there
			c := f.call()
			_ = c.line()
			_ = c.hangUp()
		}
		if a.EjectionState() != outlier.Ejected {
			t.Fatalf("a is %v after %d refused connections", a.EjectionState(), n.count("a:1"))
		}
		maint := health.Maint
		for range 4 {
			if r := <-f.get(); r.Placeholder("backend") != "b:1" {
				t.Errorf("a request went to %s, which connections have ejected", r.Placeholder("backend"))
			}
		}
		held := f.call()
		held.line()
		waits = f.call()
		request = f.get()
		synctest.Wait()
		change(t, "a:1", membership.Change{Admin: &maint})
		change(t, "b:1", membership.Change{Admin: &maint})
		if <-waits.ended; waits.err == nil {
			t.Error("a connection that waited was not refused though no backend is left")
		}
		if r := <-request; r.Status != http.StatusServiceUnavailable {
			t.Errorf("the request that waited got %d", r.Status)
		}
		if got := held.say("hello"); got != "hello" {
			t.Errorf("got %q", got)
		}
		_ = held.hangUp()
		synctest.Wait()
		for _, b := range f.handler.pool.View().Members.All {
			if totals := b.Totals(); b.Taken() != 0 || totals.InFlight != 0 {
				t.Errorf("%s: %d slots are taken, %d in flight", b.ID, b.Taken(), totals.InFlight)
			}
		}
	})
	lbtest.NoLeaks(t)
}
