// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// grouped returns the options of a pool named web with members, and a group green.
func grouped(group string, members ...string) string {
	return `"name":"web",` + dials(members...) + `,"groups":[{"name":"green",` + group + `}]`
}

// The guard counts each group by itself: the members of another one neither keep it from holding most of a group,
// nor let it hold a few. It leaves a group down whose requests the main group can take.
func TestGuardCountsByGroup(t *testing.T) {
	for name, c := range map[string]struct {
		pool string
		sick []string
		held bool
	}{
		"the main group beside a larger one without requests": {grouped(`"share":0,`+dials("c:1", "d:1", "e:1"), "a:1", "b:1"), []string{"a:1", "b:1"}, true},
		"a group with all requests beside the main one":       {grouped(`"share":1,`+dials("c:1", "d:1"), "a:1", "b:1"), []string{"c:1", "d:1"}, true},
		"a group with half of the requests":                   {grouped(`"share":0.5,`+dials("c:1"), "a:1", "b:1"), []string{"c:1"}, true},
		"a canary":                                            {grouped(`"share":0.1,`+dials("c:1"), "a:1", "b:1"), []string{"c:1"}, false},
		"a canary of more backends than the main group":       {grouped(`"share":0.1,`+dials("c:1", "d:1", "e:1"), "a:1", "b:1"), []string{"c:1", "d:1", "e:1"}, false},
		"a canary, and the main group too":                    {grouped(`"share":0.1,`+dials("c:1"), "a:1", "b:1"), []string{"a:1", "b:1", "c:1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p, err := lbtest.Load(t, nil, proxy("wrr", c.pool+","+strings.Replace(check(t, ""), `"fails":1`, `"fails":3`, 1)), answering("a:1", "b:1", "c:1", "d:1", "e:1"))
				if err != nil {
					t.Fatal(err)
				}
				traffic{rate: 100, length: 3 * time.Second}.send(p)
				w.set(func() {
					for _, a := range c.sick {
						w.sick[a] = true
					}
				})
				got := traffic{rate: 100, length: 5 * time.Second}.send(p)
				got.lost += traffic{rate: 100, length: 5 * time.Second}.send(p).lost
				down := 0
				for _, a := range c.sick {
					if !member(t, a).Up() {
						down++
					}
				}
				if got.lost > 0 || c.held && down > 0 || !c.held && down < len(c.sick) {
					t.Errorf("%d of %v are down, and %d requests are lost; want held: %v", down, c.sick, got.lost, c.held)
				}
			})
			lbtest.NoLeaks(t)
		})
	}
}

// A rollout takes no step while the guard holds all backends of its group, and the event names the group.
func TestRolloutWaitsWhileTheGuardHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, nil, proxy("wrr", grouped(`"steps":[0.5,1],"every":"5s",`+dials("c:1"), "a:1", "b:1")+","+check(t, "")))
		seen := rolloutEvents(t, p)
		groups := recordEvents(t, p, func(e caddy.Event) string { return fmt.Sprint(e.Name(), " ", e.Data["group"]) }, "pool_guard_on", "pool_guard_off")
		steadily(p, 1)
		w.set(func() { w.sick["c:1"] = true })
		if _, served := steadily(p, 10); served["c:1"] < 800 {
			t.Errorf("served by %v, want c to be held", served)
		}
		if got := seen(); len(got) != 1 || !strings.HasSuffix(got[0], "rollout_waiting green 50% no backend of the group that passes its checks takes requests") {
			t.Errorf("events %q", got)
		}
		w.set(func() { w.sick["c:1"] = false })
		steadily(p, 3)
		if got := seen(); len(got) != 2 || !strings.Contains(got[1], "rollout_promoted") {
			t.Errorf("events %q", got)
		}
		if got := groups(); !slices.Equal(got, []string{"pool_guard_on green", "pool_guard_off green"}) {
			t.Errorf("events %q", got)
		}
	})
	lbtest.NoLeaks(t)
}

// What a pool reports of its backends is that of all groups, and it warns if the requests of the main group are refused.
func TestReportOfGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		p := load(t, nil, proxy("wrr", grouped(`"share":0.1,`+dials("c:1", "d:1"), "a:1")+`,"max_requests":100,"queue":{"size":10}`))
		web := pool.Current("web")
		alter(t, "d:1", admin(health.Drain))
		r := report.OfPool(web)
		if r.Healthy != 2 || r.Serving != 2 || r.Queue.Size != 20 {
			t.Errorf("%d of %d are healthy, and %d may wait; want 2 of 2, and 10 in each of two groups", r.Healthy, r.Serving, r.Queue.Size)
		}
		if g := r.Groups; g[0].Healthy != 1 || g[0].Reason != "" || g[1].Healthy != 1 || g[1].Backends != 2 {
			t.Errorf("groups %+v", g)
		}
		alter(t, "a:1", admin(health.Maint))
		r = report.OfPool(web)
		if r.Reason != "" || r.Groups[0].Reason != "all_maintenance" || r.Groups[0].Healthy != 0 {
			t.Errorf("reason %q, main group %+v", r.Reason, r.Groups[0])
		}
		const warning = "no backend of the main group takes new requests now"
		if got := r.Backends[0].Warning; got != warning {
			t.Errorf("the warning is %q", got)
		}
		if got := fmt.Sprint(p.Logged("pool", "backend")); !strings.Contains(got, warning) {
			t.Errorf("logged %s", got)
		}
		alter(t, "a:1", admin(health.Ready))
		act := func(a rollout.Action) {
			if err := web.Manager().Rollout("green", a, ""); err != nil {
				t.Fatal(err)
			}
		}
		why := func(address string) string { return report.OfBackend(web, member(t, address)).Why }
		if why("a:1") != "" || why("c:1") != "" {
			t.Errorf("%q, %q", why("a:1"), why("c:1"))
		}
		act(rollout.Promote)
		if got := why("a:1"); got != "the other groups get all requests" {
			t.Errorf("of the main group of a promoted one: %q", got)
		}
		act(rollout.Abort)
		if got := why("c:1"); got != "the rollout of its group is aborted" {
			t.Errorf("of an aborted group: %q", got)
		}
	})
	lbtest.NoLeaks(t)
}

// Each group has its own share of the requests in the zone of this instance: an overload of one group's home moves no
// request of another group.
func TestLocalityByGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backends := workers(20, 20*time.Millisecond, "here-a:1", "there-a:1", "there-b:1")
		backends["here-b:1"] = workers(1, 20*time.Millisecond, "here-b:1")["here-b:1"] // can take 50 a second
		p := loadZoned(t, `{"policy":"least_request"}`, zoned("", "here-a:1", "there-a:1")+`,"outliers":{"off":true},"locality":{"mode":"prefer"},
			"groups":[{"name":"green","share":0.5,`+zoned("", "here-b:1", "there-b:1")+`}]`, backends)
		traffic{rate: 200, length: 10 * time.Second}.send(p)
		c := traffic{rate: 200, length: 30 * time.Second}.send(p)
		main := c.served["here-a:1"] + c.served["there-a:1"]
		if got, most := float64(c.served["there-a:1"])/float64(main), probing(main); got > most {
			t.Errorf("%.3f of the main group's requests went abroad, at most %.3f may: %v", got, most, c.served)
		}
		if got := c.served["there-b:1"]; got < c.served["here-b:1"]/2 {
			t.Errorf("the group's home is overloaded, and not relieved: %v", c.served)
		}
		shares := pool.Current("web").HomeShares()
		if len(shares) != 2 || shares[0].Home < 0.96 || shares[1].Home > 0.7 {
			t.Errorf("shares %+v", shares)
		}
		if main, green := p.Metric(t, "caddy_ballast_pool_home_ratio", "group", "main"), p.Metric(t, "caddy_ballast_pool_home_ratio", "group", "green"); main < 0.96 || green > 0.7 {
			t.Errorf("metrics %v and %v", main, green)
		}
		if r := report.OfPool(pool.Current("web")).Locality; len(r) != 2 || r[0].Group != "" || r[1].Group != "green" || r[1].Home != shares[1].Home {
			t.Errorf("report %+v", r)
		}
	})
	lbtest.NoLeaks(t)
}

// A load report is compared with those of the group: a backend of a weak version without reports gets as much as its
// peers, not as much as those of a strong version.
func TestLoadReportsByGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const strong, weak = "TEXT cpu_utilization=0.1, rps_fractional=100", "TEXT cpu_utilization=0.9, rps_fractional=100"
		config := fmt.Sprintf(`{"transport":{"protocol":"naming","reports":{"a:1":%q,"b:1":%q,"c:1":%q,"d:1":%q}},"load_balancing":{"selection_policy":{"policy":"wrr"}},
			"dynamic_upstreams":{"source":"pool",%s}}`, strong, strong, weak, weak, grouped(`"share":0.5,`+dials("c:1", "d:1", "e:1"), "a:1", "b:1"))
		p := load(t, nil, config)
		traffic{rate: 100, length: 15 * time.Second}.send(p)
		got := traffic{rate: 200, length: 10 * time.Second}.send(p).served
		if n := (got["c:1"] + got["d:1"]) / 2; got["e:1"] > n+n/5 || got["e:1"] < n-n/5 {
			t.Errorf("served by %v, want as much of e as of c and d", got)
		}
	})
	lbtest.NoLeaks(t)
}

// Slow start does not apply to a group whose backends are all new, and applies to one that joins it.
func TestSlowStartOfANewGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		config := func(group string) string {
			return proxy("wrr", grouped(group, "a:1")+`,"slow_start":{"window":"60s"}`)
		}
		p := load(t, nil, config(`"share":0.5`))
		seconds(30)
		reload(t, p, config(`"share":0.5,`+dials("c:1")))
		seconds(7)
		if w := member(t, "c:1").EffectiveWeight(); w != 1 {
			t.Errorf("the only backend of a group has weight %v", w)
		}
		if _, err := manager(t).Add(membership.Addition{Address: "d:1", Settings: backend.Settings{Group: "green"}, Verified: true}); err != nil {
			t.Fatal(err)
		}
		if w := member(t, "d:1").EffectiveWeight(); w > 0.2 {
			t.Errorf("a backend that joins has weight %v", w)
		}
	})
	lbtest.NoLeaks(t)
}

// A backend that joins a group must pass first if the group serves without it, also while the main group does not.
func TestJoinsAGroupThatServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, nil, proxy("wrr", grouped(`"share":1,`+dials("c:1"))+","+check(t, "")))
		seconds(2)
		w.set(func() { w.sick["d:1"] = true })
		if _, err := manager(t).Add(membership.Addition{Address: "d:1", Settings: backend.Settings{Group: "green"}}); err != nil {
			t.Fatal(err)
		}
		expectServed(t, p, "c:1")
		w.set(func() { w.sick["d:1"] = false })
		seconds(3)
		expectServed(t, p, "c:1", "d:1")
	})
	lbtest.NoLeaks(t)
}

// A backend that the guard of its group holds is down once a reload has removed the group.
func TestMemberOfARemovedGroupIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		with := proxy("wrr", grouped(`"share":1`, "a:1")+","+check(t, ""))
		p := load(t, nil, with)
		if _, err := manager(t).Add(membership.Addition{Address: "c:1", Settings: backend.Settings{Group: "green"}, Verified: true}); err != nil {
			t.Fatal(err)
		}
		traffic{rate: 50, length: 3 * time.Second}.send(p)
		w.set(func() { w.sick["c:1"] = true })
		traffic{rate: 50, length: 3 * time.Second}.send(p)
		if b := member(t, "c:1"); !b.Up() || !b.Suppressed() {
			t.Fatal("c is not held")
		}
		p = reload(t, p, strings.Replace(with, `,"groups":[{"name":"green","share":1}]`, "", 1))
		traffic{rate: 50, length: 3 * time.Second}.send(p)
		if b := member(t, "c:1"); b.Up() {
			t.Error("c is up")
		}
	})
	lbtest.NoLeaks(t)
}

// A backend whose group a reload has removed stays a member without requests, whether other groups are left or not: it
// is not one of the main group for sessions, shares, ejections and the guard. It serves again when the group is back.
func TestMemberOfARemovedGroup(t *testing.T) {
	for _, left := range []string{"", `,"groups":[{"name":"blue","share":0.1,` + dials("d:1") + `}]`} {
		for _, policy := range []string{"wrr", "sticky", "least_conn"} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				with := proxy(policy, grouped(`"share":0.9`, "a:1")+","+check(t, ""))
				if policy == "sticky" {
					with = strings.Replace(with, `"policy":"sticky"`, `"policy":"sticky","header":"X-S"`, 1)
				}
				without := strings.Replace(with, `,"groups":[{"name":"green","share":0.9}]`, left, 1)
				p := load(t, nil, with)
				if _, err := manager(t).Add(membership.Addition{Address: "c:1", Settings: backend.Settings{Group: "green"}, Verified: true}); err != nil {
					t.Fatal(err)
				}
				seconds(3)
				ask := func(p *lbtest.Proxy) map[string]int {
					served := make(map[string]int)
					for n := range 100 {
						req := newRequest()
						req.Header.Set("X-S", fmt.Sprint(n))
						r, err := p.Do(req)
						if err != nil || r.Code != http.StatusOK {
							t.Fatalf("got %d, %v", r.Code, err)
						}
						served[r.Header().Get("X-Upstream")]++
					}
					return served
				}
				if got := ask(p); got["c:1"] < 70 {
					t.Fatalf("served by %v", got)
				}
				p = reload(t, p, without)
				if got := fmt.Sprint(p.Logged("pool", "backend", "group")); !strings.Contains(got, "green") || !strings.Contains(got, "gets no requests") {
					t.Errorf("logged %s", got)
				}
				seconds(1)
				if got := ask(p); got["c:1"] > 0 {
					t.Errorf("%s%s: served by %v", policy, left, got)
				}
				web := pool.Current("web")
				if r := report.OfBackend(web, member(t, "c:1")); r.Why != "the pool has no group green" || r.State != "up" {
					t.Errorf("%s, why %q", r.State, r.Why)
				}
				want := 1 + strings.Count(left, "dial")
				if r := report.OfPool(web); r.Healthy != want || len(r.Backends) != want+1 {
					t.Errorf("%d of %d are healthy, want %d", r.Healthy, len(r.Backends), want)
				}
				if e := web.Candidates(web.View()); e[len(e)-1].Backend.Address == "c:1" && e[len(e)-1].PassedOver != "the pool has no group green" {
					t.Errorf("passed over: %q", e[len(e)-1].PassedOver)
				}
				w.set(func() { w.sick["a:1"] = true }) // the only one of its group, so that the guard holds it
				for range 5 {
					seconds(1)
					ask(p)
				}
				if !member(t, "a:1").Up() {
					t.Error("the guard does not hold the main group")
				}
				w.set(func() { clear(w.sick) })
				seconds(3)
				p = reload(t, p, with)
				seconds(1)
				if got := ask(p); policy != "sticky" && got["c:1"] == 0 { // sessions stay in the main group
					t.Errorf("the group is back: served by %v", got)
				}
				reload(t, p, without)
				if _, err := manager(t).Remove("c:1", membership.Removal{}); err != nil {
					t.Error(err)
				}
			})
			lbtest.NoLeaks(t)
		}
	}
}
