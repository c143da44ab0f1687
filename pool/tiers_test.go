// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// tiered returns a list of backends: the addresses of each tier.
func tiered(tiers ...[]string) string {
	var list []string
	for n, addresses := range tiers {
		for _, a := range addresses {
			list = append(list, fmt.Sprintf(`{"dial":%q,"tier":%d}`, a, n))
		}
	}
	return `"backends":[` + strings.Join(list, ",") + `]`
}

// Where all of a tier fail their requests, all of it are ejected while another tier
// can take the load (envoy#28304), and half of it while none can. The last that
// serves is never ejected.
func TestTierIsEjectedWhole(t *testing.T) {
	bad := status(http.StatusServiceUnavailable)
	for name, c := range map[string]struct {
		pool string
		bad  []string
		most int // lost requests
		all  bool
	}{
		"a tier stands ready":      {tiered([]string{"a:1", "b:1"}, []string{"c:1"}), []string{"a:1", "b:1"}, 2 * (5 + 1), false},
		"a backup stands ready":    {`"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1","backup":true}]`, []string{"a:1", "b:1"}, 2 * (5 + 1), false},
		"of three":                 {tiered([]string{"a:1", "b:1", "d:1"}, []string{"c:1"}), []string{"a:1", "b:1", "d:1"}, 3 * (5 + 1), false},
		"the other fails too":      {tiered([]string{"a:1", "b:1"}, []string{"c:1", "d:1"}), []string{"a:1", "b:1", "c:1", "d:1"}, 2000, true},
		"the other is too small":   {tiered([]string{"a:1", "b:1"}, []string{"c:1", "d:1", "e:1"}), []string{"a:1", "b:1", "c:1", "d:1"}, 2000, false},
		"it is the one that idles": {tiered([]string{"c:1"}, []string{"a:1", "b:1"}), []string{"a:1", "b:1"}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newWorld(t)
				backends := answering("a:1", "b:1", "c:1", "d:1", "e:1")
				for _, b := range c.bad {
					backends[b] = bad
				}
				p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"wrr"}},
					"dynamic_upstreams":{"source":"pool",`+c.pool+`}}`, backends)
				if err != nil {
					t.Fatal(err)
				}
				seen := events(t, p)
				got := traffic{rate: 100, length: 20 * time.Second}.send(p)
				if got.lost > c.most || c.all != (got.lost == got.sent) {
					t.Errorf("%d of %d requests were lost: %v", got.lost, got.sent, seen())
				}
				if n := count(seen(), "backend_ejected"); c.all && n > 3 {
					t.Errorf("all of four are ejected: %v", seen())
				}
			})
		})
	}
}

// The guard holds no tier whose requests another can take, as in Envoy's example of
// localities: two backends here, one there, one further away. It holds all where all
// fail the check at once.
func TestGuardLooksAtOtherTiers(t *testing.T) {
	here, there, away := []string{"a:1", "b:1"}, []string{"c:1"}, []string{"d:1"}
	for name, c := range map[string]struct {
		tiers  string
		sick   [][]string // half a second apart
		serves []string
		guard  bool
	}{
		"one tier after the other": {tiered(here, there, away), [][]string{here, there}, away, false},
		"another tier stands by":   {tiered(here, there), [][]string{here}, there, false},
		"it cannot take all":       {tiered(here, append(there, "e:1")), [][]string{here, {"e:1"}}, here, true},
		"all at once":              {tiered(here, there, away), [][]string{{"a:1", "b:1", "c:1", "d:1"}}, here, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				three := strings.Replace(check(t, ""), `"fails":1`, `"fails":3`, 1)
				p, err := lbtest.Load(t, nil, proxy("wrr", c.tiers+","+three), answering("a:1", "b:1", "c:1", "d:1", "e:1"))
				if err != nil {
					t.Fatal(err)
				}
				seen := events(t, p)
				traffic{rate: 50, length: 2 * time.Second}.send(p)
				for _, sick := range c.sick {
					w.set(func() {
						for _, b := range sick {
							w.sick[b] = true
						}
					})
					traffic{rate: 50, length: 500 * time.Millisecond}.send(p)
				}
				lost := traffic{rate: 50, length: 4 * time.Second}.send(p).lost
				got := traffic{rate: 50, length: 5 * time.Second}.send(p)
				if lost += got.lost; lost > 0 || !slices.Equal(slices.Sorted(maps.Keys(got.served)), c.serves) {
					t.Errorf("served by %v, %d lost, want %v: %v", got.served, lost, c.serves, seen())
				}
				if on := count(seen(), "pool_guard_on") > count(seen(), "pool_guard_off"); on != c.guard {
					t.Errorf("guard %v, want %v: %v", on, c.guard, seen())
				}
			})
		})
	}
}

// A backup gets requests only while no backend that is no backup can have them: not
// when one of two is down, as HAProxy, nginx and Traefik mean it.
func TestBackupWaitsForTheLast(t *testing.T) {
	for _, policy := range everyPolicy {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := load(t, nil, proxy(policy, `"backends":[{"dial":"a:1"},{"dial":"b:1","tier":3},{"dial":"c:1","backup":true},{"dial":"d:1","backup":true}],`+check(t, "")))
				for _, step := range []struct{ sick, serve []string }{
					{nil, []string{"a:1"}},
					{[]string{"a:1"}, []string{"b:1"}},
					{[]string{"b:1", "c:1"}, []string{"a:1"}},
					{[]string{"a:1", "b:1", "c:1"}, []string{"d:1"}},
				} {
					w.set(func() {
						clear(w.sick)
						for _, s := range step.sick {
							w.sick[s] = true
						}
					})
					seconds(4) // the guard holds nobody without traffic
					expectServed(t, p, step.serve...)
				}
			})
		})
	}
}

// With one of two down a backup gets nothing, and with both down all.
func TestBackupGetsNoShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, nil, proxy("wrr", `"guard":false,"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1","backup":true}],`+check(t, "")))
		for _, step := range []struct {
			sick  []string
			serve string
		}{{[]string{"a:1"}, "b:1"}, {[]string{"a:1", "b:1"}, "c:1"}, {[]string{"b:1"}, "a:1"}} {
			w.set(func() {
				clear(w.sick)
				for _, s := range step.sick {
					w.sick[s] = true
				}
			})
			seconds(2.5)
			if got := served(t, p, 200); got[step.serve] != 200 {
				t.Errorf("%v down: served by %v, want %s", step.sick, got, step.serve)
			}
		}
	})
}

// The backups take over from backends that are full, and from one that a request has
// tried in vain, since none is left then.
func TestBackupTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		backends := answering("c:1")
		backends["a:1"], backends["b:1"] = lbtest.Refused, lbtest.Refused
		p, err := lbtest.Load(t, nil, proxy("wrr", `"outliers":{"off":true},"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1","backup":true}]`), backends)
		if err != nil {
			t.Fatal(err)
		}
		if got := served(t, p, 10); got["c:1"] != 10 {
			t.Errorf("retries: served by %v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		p, err := lbtest.Load(t, nil, proxy("wrr", `"backends":[{"dial":"a:1","max_requests":1},{"dial":"c:1","backup":true}]`),
			lbtest.Backends{"a:1": lbtest.Latency(time.Second), "c:1": lbtest.Latency(0)})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = p.Get() }()
		synctest.Wait()
		if got := served(t, p, 10); got["c:1"] != 10 {
			t.Errorf("full: served by %v", got)
		}
		seconds(2)
	})
}

// With half of a tier down, the spill factor decides how much it can still take.
func TestSpillFactor(t *testing.T) {
	for factor, want := range map[string]float64{``: 0.7, `"spill":1,`: 0.5, `"spill":1.4,`: 0.7, `"spill":2,`: 1, `"spill":0,`: 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.sick["a:1"] = true
			p := load(t, nil, proxy("wrr", factor+`"guard":false,`+tiered([]string{"a:1", "b:1"}, []string{"c:1"})+","+check(t, "")))
			seconds(2)
			// 2,000 draws: within 4 deviations of 1.1 %.
			if got := float64(served(t, p, 2000)["b:1"]) / 2000; math.Abs(got-want) > 0.045 || want == 1 && got != 1 {
				t.Errorf("%s: the tier has %.3f, want %.2f", factor, got, want)
			}
			w.set(func() { w.sick["b:1"] = true })
			seconds(3)
			expectServed(t, p, "c:1")
		})
	}
}

// Panic looks at backups only when they would serve: one of three that is left is not
// left alone because a backup idles.
func TestPanicBesideABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, nil, proxy("wrr", `"guard":false,"panic":0.5,"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1"},{"dial":"d:1","backup":true}],`+check(t, "")))
		w.set(func() { w.sick["a:1"], w.sick["b:1"] = true, true })
		seconds(3)
		expectServed(t, p, "a:1", "b:1", "c:1")
		w.set(func() { w.sick["c:1"] = true })
		seconds(3)
		expectServed(t, p, "d:1")
	})
}

// A backup may be added at run time, and outlives a reload as one.
func TestAddedBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := proxy("wrr", web+dials("a:1"))
		p := load(t, nil, plain)
		if _, err := manager(t).Add(membership.Addition{Address: "b:1", Settings: backend.Settings{Backup: true, Tier: 2}}); err == nil {
			t.Error("added as a backup and in a tier")
		}
		if b, err := manager(t).Add(membership.Addition{Address: "b:1", Settings: backend.Settings{Backup: true}}); err != nil || !b.Backup || b.Tier != 1 {
			t.Errorf("added %v, %v", b, err)
		}
		expectServed(t, p, "a:1")
		p = reload(t, p, plain)
		alter(t, "a:1", admin(health.Maint))
		expectServed(t, p, "b:1")
	})
}
