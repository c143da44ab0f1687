// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// A gRPC request that a full backend does not get is a failure, and nothing that the backend has accepted,
// although the refusal of a gRPC request has the status 200.
func TestRefusedGRPCIsNotAccepted(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var at seen
		s := newSite(t, servers{"a:1": says(200, ""), "b:1": at.then(after(time.Second, says(200, ""))), "c:1": says(200, "")},
			web(`,"max_requests":1`), `"pool":"web","retries":0`+summary)
		call := func() result {
			req := post("x")
			req.Header.Set("Content-Type", "application/grpc")
			return s.do(req)
		}
		go call()
		synctest.Wait()
		r := call()
		rep := r.report(t)
		if r.status != 502 || len(at.requests) != 1 {
			t.Errorf("got %d %s; b got %d requests", r.status, r.body, len(at.requests))
		}
		equal(t, "have", rep.Have, []string{"a:1", "c:1"})
		equal(t, "have_not", rep.HaveNot, []string{"b:1"})
		equal(t, "error", rep.Backends[1].Error, "no upstreams available: pool web: all_full")
		pass()
	})
}

// Who is taken out or removed while it waits for its next try gets no other, also by what is done after a
// reload; it is then as safe to stop as it is said to be.
func TestTakenOutBetweenTries(t *testing.T) {
	drain, maint := health.Drain, health.Maint
	for name, out := range map[string]func(m membership.Manager) error{
		"drain": func(m membership.Manager) error {
			_, err := m.Change("b:1", membership.Change{Admin: &drain})
			return err
		},
		"maint": func(m membership.Manager) error {
			_, err := m.Change("b:1", membership.Change{Admin: &maint})
			return err
		},
		"removal": func(m membership.Manager) error { _, err := m.Remove("b:1", membership.Removal{}); return err },
	} {
		for _, reload := range []bool{false, true} {
			title := name
			if reload {
				title += " after a reload"
			}
			bubble(t, title, func(t *testing.T) {
				var at seen
				members := servers{"a:1": says(200, ""), "b:1": at.then(says(500, "")), "c:1": says(200, "")}
				s := newSite(t, members, web(""), `"pool":"web","backoff":{"base":"10s","max":"10s"}`+summary)
				result := make(chan result)
				go func() { result <- s.do(post("x")) }()
				time.Sleep(time.Second)
				if reload {
					next := newSite(t, members, web(""), `"pool":"web"`)
					s.Close()
					defer next.Close()
				}
				if b := pool.Current("web").Find("b:1"); b.InUse() {
					t.Fatal("b is in use")
				}
				if err := out(pool.Current("web").Manager()); err != nil {
					t.Fatal(err)
				}
				r := <-result
				rep := r.report(t)
				if r.status != 200 || rep.Of != 2 || len(at.requests) != 1 {
					t.Errorf("got %d, %d of %d; b got %d requests", r.status, rep.Accepted, rep.Of, len(at.requests))
				}
				equal(t, "left", rep.Left, []string{"b:1"})
			})
		}
	}
}

// A try that is in flight on a drained backend ends by itself, and what it accepts counts.
func TestDrainedDuringATry(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"a:1": after(3*time.Second, says(200, "")), "b:1": after(2*time.Second, says(200, "")), "c:1": after(3*time.Second, says(200, ""))},
			web(""), `"pool":"web"`+summary)
		time.AfterFunc(time.Second, func() {
			drain := health.Drain
			_, _ = pool.Current("web").Manager().Change("b:1", membership.Change{Admin: &drain})
		})
		rep := s.do(post("x")).report(t)
		equal(t, "have", rep.Have, []string{"a:1", "b:1", "c:1"})
		equal(t, "of", rep.Of, 3)
	})
}

// The quorum is not lost while a drained backend may still accept it.
func TestDrainedBackendsMayDecide(t *testing.T) {
	for status, want := range map[int]int{200: 200, 500: 502} {
		bubble(t, "", func(t *testing.T) {
			s := newSite(t, servers{"a:1": says(200, ""), "b:1": after(3*time.Second, says(status, "")), "c:1": after(2*time.Second, says(500, ""))},
				web(""), `"pool":"web","quorum":"majority","retries":0`+summary)
			time.AfterFunc(time.Second, func() {
				drain := health.Drain
				_, _ = pool.Current("web").Manager().Change("b:1", membership.Change{Admin: &drain})
			})
			if r := s.do(post("x")); r.status != want || r.took != 3*time.Second {
				t.Errorf("got %d after %v", r.status, r.took)
			}
		})
	}
}

// The policies of the pool for further attempts and copies do not apply: each try is made once.
func TestPoliciesForAttemptsDoNotApply(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var at, copies seen
		s := newSite(t, servers{"a:1": at.then(after(5*time.Second, says(503, ""))), "b:1": says(200, ""), "c:1": says(200, ""), "m:1": copies.then(says(200, ""))},
			web(`,"outliers":{"off":true},"retry":{"tries":3,"on":["503"],"methods":["POST"]},"hedge":{"quantile":0.5,"max":1,"match":[{"method":["POST"]}]},"mirror":{"ratio":1,"to":["m:1"],"methods":["POST"]}`),
			`"pool":"web","retries":1,"backoff":{"base":"1s"}`+summary)
		for range 3 {
			at.requests = nil
			rep := s.do(post("x")).report(t)
			if len(at.requests) != 2 || len(copies.requests) != 0 || rep.Backends[0].Tries != 2 {
				t.Errorf("a got %d requests in %d tries, and there are %d copies", len(at.requests), rep.Backends[0].Tries, len(copies.requests))
			}
		}
		pass()
		equal(t, "in flight", totals(t, "web", "a:1").InFlight, 0)
	})
}

// The backends of all groups get the request, and the reason for a refusal is that of all.
func TestGroups(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		apps := caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"web":{"groups":[{"name":"canary","backends":[{"dial":"a:1"}],"share":0.01},{"name":"tests","backends":[{"dial":"b:1"}],"when":[{"header":{"X-Test":["1"]}}]}]}}}`)}
		s := newSite(t, servers{"a:1": says(200, ""), "b:1": says(200, "")}, apps, `"pool":"web"`+summary)
		equal(t, "have", s.do(post("x")).report(t).Have, []string{"a:1", "b:1"})
		maint := health.Maint
		for _, id := range []string{"a:1", "b:1"} {
			if _, err := pool.Current("web").Manager().Change(id, membership.Change{Admin: &maint}); err != nil {
				t.Fatal(err)
			}
		}
		if r := s.do(post("x")); r.status != 503 || r.Placeholder("reason") != "all_maintenance" {
			t.Errorf("got %d %q", r.status, r.Placeholder("reason"))
		}
	})
}

// The spans of the tries of a traced request have their number on the backend.
func TestSpansOfTries(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"a:1": says(500, "")}, nil, `"upstreams":["a:1"],"retries":3`)
		spans := tracetest.NewSpanRecorder()
		ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test").Start(t.Context(), "request")
		s.do(post("x").WithContext(ctx))
		span.End()
		var tries []int64
		for _, s := range spans.Ended() {
			for _, a := range s.Attributes() {
				if a.Key == "ballast.try" {
					tries = append(tries, a.Value.AsInt64())
				}
			}
		}
		equal(t, "tries", tries, []int{1, 2, 3, 4})
		equal(t, "retries", totals(t, "inline-a:1", "a:1").Retries, 3)
	})
}
