// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// canary returns a configuration of a pool with two backends and a group with one, c:1.
func canary(policy, group string) string {
	return fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":%s},"dynamic_upstreams":{"source":"pool","name":"web",%s,
		"groups":[{"name":"canary",%s,%s}]}}`, policy, dials("a:1", "b:1"), dials("c:1"), group)
}

// every answers with a status after a time, and each n-th time with 500.
func every(n int64, d time.Duration) lbtest.Answerer {
	var count atomic.Int64
	ok := lbtest.Latency(d)
	return func(req *http.Request) (int, error) {
		if n > 0 && count.Add(1)%n == 0 {
			lbtest.Wait(req.Context(), d)
			return http.StatusInternalServerError, nil
		}
		return ok(req)
	}
}

// rolloutEvents records the events of rollouts with the seconds since the start.
func rolloutEvents(t *testing.T, p *lbtest.Proxy) func() []string {
	began := time.Now()
	return recordEvents(t, p, func(e caddy.Event) string {
		return fmt.Sprintf("%3.0f %s %v %v %v", time.Since(began).Seconds(), e.Name(), e.Data["group"], e.Data["share"], e.Data["reason"])
	}, "rollout_step", "rollout_promoted", "rollout_aborted", "rollout_waiting", "rollout_restarted", "rollout_paused", "rollout_resumed")
}

// steadily sends 200 requests a second for so many seconds, and returns the number of answers by
// status and by backend.
func steadily(p *lbtest.Proxy, seconds int) (statuses map[int]int, backends map[string]int) {
	statuses, backends = make(map[int]int), make(map[string]int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 200 * seconds {
		wg.Go(func() {
			r := p.Serve(newRequest())
			mu.Lock()
			defer mu.Unlock()
			statuses[r.Code]++
			backends[r.Placeholder("backend")]++
		})
		time.Sleep(5 * time.Millisecond)
	}
	wg.Wait()
	synctest.Wait()
	return statuses, backends
}

// A canary with 10 % errors at 5 % of 200 requests a second is aborted within 30 s: see the test of
// package rollout for how sure that is. With fallback no client sees an error, yet all count.
func TestCanaryWithErrorsIsAborted(t *testing.T) {
	for _, fallback := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, err := lbtest.Load(t, nil, canary(`{"policy":"p2c"}`, fmt.Sprintf(`"share":0.05,"fallback":%v,"abort":{"errors":0.01,"after":50}`, fallback)),
				lbtest.Backends{"a:1": every(0, time.Millisecond), "b:1": every(0, time.Millisecond), "c:1": every(10, time.Millisecond)})
			if err != nil {
				t.Fatal(err)
			}
			seen := rolloutEvents(t, p)
			statuses, backends := steadily(p, 30)
			if got := seen(); len(got) != 1 || !strings.Contains(got[0], "rollout_aborted canary 0% errors: ") {
				t.Errorf("fallback %v: events %q", fallback, got)
			}
			if fallback != (statuses[http.StatusInternalServerError] == 0) || backends["c:1"] < 40 || statuses[0] > 0 {
				t.Errorf("fallback %v: clients got %v from %v", fallback, statuses, backends)
			}
			if got := p.Logged("pool", "group", "share", "by", "reason"); len(got) != 1 || !strings.Contains(got[0], "requests, certainly at least") {
				t.Errorf("logged %q", got)
			}
			if _, backends := steadily(p, 2); backends["c:1"] > 0 {
				t.Errorf("an aborted group served %d requests", backends["c:1"])
			}
			if n := p.Metric(t, "caddy_ballast_pool_rollout_aborts_total", "group", "canary"); n != 1 {
				t.Errorf("%v aborts in the metrics", n)
			}
		})
	}
	lbtest.NoLeaks(t)
}

// One that is two times slower at p95 is aborted when 1.5 times is allowed, and not when 3 times is.
func TestSlowCanaryIsAborted(t *testing.T) {
	for _, factor := range []float64{1.5, 3} {
		synctest.Test(t, func(t *testing.T) {
			p, err := lbtest.Load(t, nil, canary(`{"policy":"p2c"}`, fmt.Sprintf(`"share":0.1,"abort":{"errors":0.01,"quantile":0.95,"factor":%v}`, factor)),
				lbtest.Backends{"a:1": every(0, 10*time.Millisecond), "b:1": every(0, 10*time.Millisecond), "c:1": every(0, 20*time.Millisecond)})
			if err != nil {
				t.Fatal(err)
			}
			seen := rolloutEvents(t, p)
			steadily(p, 20)
			if got := seen(); (len(got) == 1 && strings.Contains(got[0], "rollout_aborted canary 0% latency: p95 ")) != (factor == 1.5) {
				t.Errorf("factor %v: events %q", factor, got)
			}
		})
	}
}

// A rollout takes its steps, each only with as many requests as it needs, and waits meanwhile.
func TestRolloutTakesItsSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := load(t, nil, canary(`{"policy":"p2c"}`, `"steps":[0.2,0.5,1],"every":"10s","abort":{"errors":0.01,"after":100}`))
		seen := rolloutEvents(t, p)
		steadily(p, 1) // 40 requests of 100
		seconds(60)
		if got := seen(); len(got) != 1 || !strings.HasPrefix(got[0], " 10 rollout_waiting canary 20% ") || !strings.HasSuffix(got[0], " of 100 requests") {
			t.Fatalf("events %q", got)
		}
		steadily(p, 25)
		if got := seen(); len(got) != 3 || !strings.Contains(got[1], "rollout_step canary 50%") || !strings.Contains(got[2], "rollout_promoted canary 100%") {
			t.Errorf("events %q", got)
		}
		expectServed(t, p, "c:1")
	})
	lbtest.NoLeaks(t)
}

// rolloutOf returns the rollout of the group.
func rolloutOf(t *testing.T) rollout.Overview {
	t.Helper()
	return pool.Current("web").Groups().Find("canary").Rollout.Report(0)
}

func act(t *testing.T, a rollout.Action) {
	t.Helper()
	if err := pool.Current("web").Manager().Rollout("canary", a, "alice"); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// The state outlives reloads, and one that is rejected; other shares begin anew.
func TestRolloutOutlivesReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := canary(`{"policy":"wrr"}`, `"share":0.05`)
		p := load(t, nil, config)
		seen := rolloutEvents(t, p)
		act(t, rollout.Abort)
		expectServed(t, p, "a:1", "b:1")
		if got := seen(); !slices.Equal(got, []string{"  0 rollout_aborted canary 0% an operator has aborted it"}) {
			t.Errorf("events %q", got)
		}
		p = reload(t, p, config)
		seconds(2)
		expectServed(t, p, "a:1", "b:1")
		if _, err := lbtest.Load(t, nil, canary(`{"policy":"none"}`, `"share":0.5`), abc); err == nil {
			t.Fatal("an unknown policy was loaded")
		}
		seconds(2)
		if r := rolloutOf(t); r.State != rollout.Aborted {
			t.Errorf("a rejected configuration has made it %s", r.State)
		}
		p = reload(t, p, canary(`{"policy":"wrr"}`, `"share":0.5`))
		seconds(2)
		expectServed(t, p, "a:1", "b:1", "c:1")
		act(t, rollout.Promote)
		expectServed(t, p, "c:1")
		p = reload(t, p, canary(`{"policy":"wrr"}`, `"share":0.5,"abort":{"errors":0.1}`))
		seconds(2)
		expectServed(t, p, "c:1")
		if err := pool.Current("web").Manager().Rollout("blue", rollout.Pause, ""); err == nil {
			t.Error("a group that is not there was paused")
		}
	})
	lbtest.NoLeaks(t)
}

// With `persist` the state outlives the process.
func TestRolloutOutlivesTheProcess(t *testing.T) {
	newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		for _, persistent := range []bool{true, false} {
			pools := `"web":{` + dials("a:1", "b:1") + `,"groups":[{"name":"canary",` + dials("c:1") + `,"share":0.5}]}`
			apps := kept(t, pools)
			if !persistent {
				apps["ballast"] = app(pools)["ballast"]
			}
			p := load(t, apps, proxy("wrr", webByName))
			seconds(3)
			act(t, rollout.Abort)
			p.Close()
			time.Sleep(100 * time.Hour)
			p = load(t, apps, proxy("wrr", webByName))
			seconds(1)
			if r := rolloutOf(t); (r.State == rollout.Aborted) != persistent || persistent && r.Reason != "an operator has aborted it" {
				t.Errorf("persist %v: restored %+v", persistent, r)
			}
			p.Close()
		}
	})
	lbtest.NoLeaks(t)
}

// Requests that match go to the group whatever its share, until it is aborted.
func TestMatchingRequestsGoToTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := load(t, nil, canary(`{"policy":"p2c"}`, `"when":[{"header":{"X-Canary":["always"]}}]`))
		get := func(value string) string {
			req := newRequest()
			req.Header.Set("X-Canary", value)
			return p.Serve(req).Placeholder("backend")
		}
		for range 50 {
			if got := get("always"); got != "c:1" {
				t.Fatalf("a matching request was served by %s", got)
			}
			if got := get("never"); got == "c:1" {
				t.Fatal("another request was served by the group")
			}
		}
		act(t, rollout.Abort)
		if got := get("always"); got == "c:1" {
			t.Error("an aborted group served a matching request")
		}
	})
}

// A session stays in its group while the share rises, and leaves it when the rollout is aborted. A
// client without one goes to the same group each time.
func TestSessionsStayInTheirGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := `{"policy":"sticky","client_ip":true,"fallback":{"policy":"wrr"}}`
		p := load(t, nil, canary(policy, `"share":0.3,"key":"header","key_name":"X-User"`))
		ask := func(client, user int) string {
			req := newRequest()
			req.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", client/250, client%250)
			req.Header.Set("X-User", fmt.Sprint(user))
			return p.Serve(req).Placeholder("backend")
		}
		const clients = 500
		first, in := make([]string, clients), 0
		for i := range first {
			if first[i] = ask(i, i); first[i] == "c:1" {
				in++
			}
		}
		if in < 110 || in > 190 { // 150, within 4 standard deviations of 10
			t.Errorf("%d of %d sessions began in the group", in, clients)
		}
		for i := range first { // the key of another client would choose otherwise
			if got := ask(i, i+1); got != first[i] {
				t.Fatalf("session %d moved from %s to %s", i, first[i], got)
			}
		}
		p = reload(t, p, canary(policy, `"share":0.6,"key":"header","key_name":"X-User"`))
		seconds(2)
		for i := range first {
			if got := ask(i, i+1); got != first[i] {
				t.Fatalf("with a larger share, session %d moved from %s to %s", i, first[i], got)
			}
		}
		act(t, rollout.Abort)
		for i := range first {
			if got := ask(i, i); got == "c:1" || first[i] != "c:1" && got != first[i] {
				t.Fatalf("after the abort, session %d of %s was served by %s", i, first[i], got)
			}
		}
	})
	lbtest.NoLeaks(t)
}

// A group whose backends are down gets no requests, and takes no step. The main group does not get
// the help of the group, whose backends could not bear it.
func TestGroupThatIsDownGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		config := strings.Replace(canary(`{"policy":"rendezvous","key":"client_ip"}`, `"steps":[0.5,1],"every":"5s"`), `"groups"`, check(t, `,"passes":1`)+`,"guard":false,"groups"`, 1)
		p := load(t, nil, config)
		seen := rolloutEvents(t, p)
		steadily(p, 1)
		w.set(func() { w.sick["c:1"] = true })
		seconds(2)
		if statuses, backends := steadily(p, 10); backends["c:1"] > 0 || statuses[http.StatusOK] != 2000 {
			t.Errorf("clients got %v from %v", statuses, backends)
		}
		if got := seen(); len(got) != 1 || !strings.HasSuffix(got[0], "rollout_waiting canary 50% no backend of the group that passes its checks takes requests") {
			t.Errorf("events %q", got)
		}
		w.set(func() { w.sick["c:1"], w.sick["a:1"], w.sick["b:1"] = false, true, true })
		seconds(2)
	})
	lbtest.NoLeaks(t)
}

// Policies of Caddy choose within the group of the request, too, by themselves and as the fallback
// of sticky.
func TestPoliciesOfCaddyHonourTheGroup(t *testing.T) {
	for _, policy := range []string{
		`{"policy":"random"}`, `{"policy":"round_robin"}`, `{"policy":"least_conn"}`, `{"policy":"first"}`, `{"policy":"ip_hash"}`,
		`{"policy":"sticky","cookie":{"name":"s","secret":"0123456789abcdef0123456789abcdef"},"fallback":{"policy":"random"}}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			p := load(t, nil, canary(policy, `"share":0.3,"key":"header","key_name":"X-User"`))
			for i := range 200 {
				req := newRequest()
				req.Header.Set("X-User", fmt.Sprint(i))
				group := pool.Current("web").GroupFor(req)
				if got := p.Serve(req).Placeholder("backend"); (got == "c:1") != (group == 1) {
					t.Fatalf("%s: a request of group %d was served by %s", policy, group, got)
				}
			}
		})
	}
	lbtest.NoLeaks(t)
}

// Further attempts stay in the group, but those after a failure with fallback, which count for the
// group all the same. A request that may not be sent twice gets the answer of the group.
func TestFurtherAttemptsHonourTheGroup(t *testing.T) {
	for _, tt := range []struct{ group, pool, method, want string }{
		{`"share":1`, `"retry":{"tries":1,"on":["500"]},`, http.MethodGet, "c d"},
		{`"share":1,"fallback":true`, `"retry":{"tries":1,"on":["500"]},`, http.MethodGet, "c ab"},
		{`"share":1,"fallback":true`, ``, http.MethodGet, "c ab"},
		{`"share":1,"fallback":true`, ``, http.MethodPost, "c"},
		{`"share":1`, ``, http.MethodGet, "c"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &diary{began: time.Now()}
			failing := func(*http.Request) (int, error) { return http.StatusInternalServerError, nil }
			config := strings.Replace(canary(`{"policy":"wrr"}`, tt.group), `"groups"`, tt.pool+`"groups"`, 1)
			config = strings.Replace(config, dials("c:1"), dials("c:1", "d:1"), 1)
			p, err := lbtest.Load(t, nil, config, lbtest.Backends{
				"a:1": d.of("a", lbtest.Latency(0)), "b:1": d.of("b", lbtest.Latency(0)), "c:1": d.of("c", failing), "d:1": d.of("c", failing),
			})
			if err != nil {
				t.Fatal(err)
			}
			req := newRequest()
			req.Method = tt.method
			r := p.Serve(req)
			got := strings.Join(d.addresses(), " ")
			ok := map[string]bool{"c d": got == "c c", "c ab": got == "c a" || got == "c b", "c": got == "c"}[tt.want]
			if !ok || (r.Code == http.StatusOK) != (tt.want == "c ab") {
				t.Errorf("%+v: sent to %s, status %d, %v", tt, got, r.Code, r.Err)
			}
			if n, bad := pool.Current("web").Groups().Find("canary").Rollout.Attempts(); bad == 0 || n != bad {
				t.Errorf("%+v: %d of %d attempts count as errors", tt, bad, n)
			}
		})
	}
	lbtest.NoLeaks(t)
}

// The share of the clients is that of the group.
func TestShareOfClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := load(t, nil, canary(`{"policy":"wrr"}`, `"share":0.05,"key":"header","key_name":"X-User"`))
		const clients = 20_000
		in := 0
		for i := range clients {
			req := newRequest()
			req.Header.Set("X-User", fmt.Sprint("user-", i))
			if pool.Current("web").GroupFor(req) == 1 {
				in++
			}
		}
		if in < 0.0438*clients || in > 0.0562*clients { // 4 standard deviations
			t.Errorf("%d of %d clients are in the group", in, clients)
		}
		p.Close()
	})
}
