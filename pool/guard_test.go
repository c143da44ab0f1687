// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// steps returns the names of events.
func steps(events []string) (names []string) {
	for _, e := range events {
		names = append(names, e[:strings.Index(e, " ")])
	}
	return names
}

// All probes of a pool that is overloaded time out, while its traffic succeeds:
// it serves on, and says so once. When the check passes again, so it says.
func TestGuardHoldsWhileTrafficSucceeds(t *testing.T) {
	for _, backends := range [][]string{{"a:1"}, {"a:1", "b:1"}, {"a:1", "b:1", "c:1", "d:1"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p := load(t, nil, proxy("wrr", dials(backends...)+","+check(t, "")))
			seen := events(t, p)
			traffic{rate: 50, length: 3 * time.Second}.send(p)
			w.set(func() {
				for _, b := range backends {
					w.sick[b] = true
				}
			})
			if got := (traffic{rate: 50, length: 30 * time.Second}).send(p); got.lostSince(2*time.Second) > 0 || got.lost > 0 {
				t.Errorf("%d requests were lost with %d backends", got.lost, len(backends))
			}
			w.set(func() { clear(w.sick) })
			traffic{rate: 50, length: 5 * time.Second}.send(p)
			got := steps(seen())
			// With one failure enough to be down, the first are down until most are.
			for len(got) > 0 && (got[0] == "backend_down" || got[0] == "backend_up") {
				got = got[1:]
			}
			got = slices.DeleteFunc(got, func(name string) bool { return name == "backend_up" })
			if !slices.Equal(got, []string{"pool_guard_on", "pool_guard_off"}) {
				t.Errorf("events %v", seen())
			}
		})
	}
}

// Half of a pool is not most of it, nor are two of three that do not fail within
// one interval (a second, and the timeout of one), nor most where traffic fails.
func TestGuardBoundaries(t *testing.T) {
	for name, c := range map[string]struct {
		backends []string
		sick     [][]string // after 3 s, and after 5 s more
		traffic  lbtest.Answerer
		guard    bool
	}{
		"half":            {[]string{"a:1", "b:1", "c:1", "d:1"}, [][]string{{"a:1", "b:1"}}, lbtest.Latency(fast), false},
		"most":            {[]string{"a:1", "b:1", "c:1"}, [][]string{{"a:1", "b:1"}}, lbtest.Latency(fast), true},
		"one by one":      {[]string{"a:1", "b:1", "c:1"}, [][]string{{"a:1"}, {"b:1"}}, lbtest.Latency(fast), false},
		"traffic fails":   {[]string{"a:1", "b:1", "c:1"}, [][]string{{"a:1", "b:1", "c:1"}}, lbtest.Refused, false},
		"errors":          {[]string{"a:1", "b:1", "c:1"}, [][]string{{"a:1", "b:1", "c:1"}}, status(503), false},
		"nobody answers":  {[]string{"a:1", "b:1", "c:1"}, [][]string{{"a:1", "b:1", "c:1"}}, hang, false},
		"the only one":    {[]string{"a:1"}, [][]string{{"a:1"}}, lbtest.Latency(fast), true},
		"it is turned on": {[]string{"a:1"}, [][]string{{"a:1"}}, lbtest.Latency(fast), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				backends := make(lbtest.Backends)
				for _, b := range c.backends {
					backends[b] = after(3*time.Second, lbtest.Latency(fast), c.traffic)
				}
				p, err := lbtest.Load(t, nil, proxy("wrr", dials(c.backends...)+`,"outliers":{"off":true},`+check(t, "")), backends)
				if err != nil {
					t.Fatal(err)
				}
				seen := events(t, p)
				traffic{rate: 50, length: 3 * time.Second}.send(p)
				for _, sick := range c.sick {
					w.set(func() {
						for _, b := range sick {
							w.sick[b] = true
						}
					})
					traffic{rate: 50, length: 5 * time.Second, patience: time.Second}.send(p)
				}
				// Where traffic fails only now, it may be on for a moment.
				if got := count(seen(), "pool_guard_on") > count(seen(), "pool_guard_off"); got != c.guard {
					t.Errorf("the guard is on: %v, want %v: %v", got, c.guard, seen())
				}
				if c.guard {
					return
				}
				for _, b := range slices.Concat(c.sick...) {
					if !slices.ContainsFunc(seen(), func(e string) bool { return strings.Contains(e, "backend_down") && strings.Contains(e, b) }) {
						t.Errorf("%s is not down: %v", b, seen())
					}
				}
			})
		})
	}
}

// `guard off` takes the check at its word.
func TestGuardOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, nil, proxy("wrr", dials("a:1")+`,"guard":false,`+check(t, "")))
		traffic{rate: 50, length: time.Second}.send(p)
		w.set(func() { w.sick["a:1"] = true })
		if got := (traffic{rate: 50, length: 5 * time.Second}).send(p); got.lostSince(1100*time.Millisecond) < 150 {
			t.Errorf("%d requests were lost of 195", got.lost)
		}
	})
}

// A backend that went down before, for a reason of its own, is not held up with
// the others.
func TestGuardDoesNotRaiseTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		// With one failure enough, those that are probed first would be down before
		// most have failed.
		three := strings.Replace(check(t, ""), `"fails":1`, `"fails":3`, 1)
		p := load(t, nil, proxy("wrr", dials("a:1", "b:1", "c:1", "d:1")+","+three))
		traffic{rate: 50, length: 2 * time.Second}.send(p)
		w.set(func() { w.sick["a:1"] = true })
		traffic{rate: 50, length: 20 * time.Second}.send(p)
		w.set(func() { w.sick["b:1"], w.sick["c:1"], w.sick["d:1"] = true, true, true })
		traffic{rate: 50, length: 5 * time.Second}.send(p)
		got := traffic{rate: 50, length: 5 * time.Second}.send(p)
		if got.lost > 0 || got.served["a:1"] > 0 || len(got.served) != 3 {
			t.Errorf("served by %v, %d lost, want b, c and d to serve", got.served, got.lost)
		}
	})
}

// A backend that was seen down stays down, though others begin to fail the check
// within an interval of it: the guard keeps up who is up, and brings nobody up.
func TestGuardLeavesDownWhoWasSeenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		backends := answering("b:1", "c:1")
		backends["a:1"] = lbtest.Refused
		p, err := lbtest.Load(t, nil, proxy("wrr", dials("a:1", "b:1", "c:1")+","+check(t, "")), backends)
		if err != nil {
			t.Fatal(err)
		}
		seen := events(t, p)
		seconds(0.5)
		w.set(func() { w.sick["a:1"] = true })
		seconds(1)
		w.set(func() { w.sick["b:1"] = true }) // fails its next probe, a second after a did
		got := traffic{rate: 50, length: 10 * time.Second}.send(p)
		if got.lost > 0 || got.served["a:1"] > 0 || got.served["b:1"] < 200 || count(seen(), "backend_up") > 0 {
			t.Errorf("served by %v, %d lost, events %v; want b to be held, and a to stay down", got.served, got.lost, seen())
		}
	})
}

// The guard that is on stays on over a reload, and says nothing again.
func TestGuardOutlivesReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		config := proxy("wrr", dials("a:1", "b:1")+","+check(t, ""))
		p := load(t, nil, config)
		traffic{rate: 50, length: 2 * time.Second}.send(p)
		w.set(func() { w.sick["a:1"], w.sick["b:1"] = true, true })
		traffic{rate: 50, length: 5 * time.Second}.send(p)
		next := load(t, nil, config)
		seen := events(t, next)
		p.Close()
		if got := (traffic{rate: 50, length: 5 * time.Second}).send(next); got.lost > 0 || len(seen()) > 0 {
			t.Errorf("%d requests were lost, and it was said %v", got.lost, seen())
		}
	})
}

// A panic of a group is announced, too, until the group gets no requests.
func TestPanicOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, err := lbtest.Load(t, nil, proxy("wrr", dials("a:1", "b:1")+`,"name":"web","panic":0.5,"guard":false,"groups":[{"name":"green","share":1,`+dials("c:1", "d:1", "e:1")+`}],`+check(t, "")),
			answering("a:1", "b:1", "c:1", "d:1", "e:1"))
		if err != nil {
			t.Fatal(err)
		}
		seen := events(t, p, "pool_panic_on", "pool_panic_off")
		seconds(0.5)
		w.set(func() { w.sick["c:1"], w.sick["d:1"] = true, true })
		seconds(3)
		expectServed(t, p, "c:1", "d:1", "e:1")
		if r := report.OfPool(pool.Current("web")); !r.Panic || r.Groups[0].Panic || !r.Groups[1].Panic {
			t.Errorf("the report has the panic %v, groups %+v", r.Panic, r.Groups)
		}
		if err := pool.Current("web").Manager().Rollout("green", rollout.Abort, ""); err != nil {
			t.Fatal(err)
		}
		seconds(2)
		expectServed(t, p, "a:1", "b:1")
		want := []string{"pool_panic_on web <nil> <nil> 1 of 3 backends are healthy", "pool_panic_off web <nil> <nil> 1 of 3 backends are healthy"}
		if got := seen(); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// A group without healthy backends is not in panic while the main group is healthy, which serves its requests.
func TestNoPanicOfAGroupThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, nil, proxy("wrr", grouped(`"share":0.5,`+dials("c:1", "d:1"), "a:1", "b:1")+`,"panic":0.5,"guard":false,`+check(t, "")))
		seen := events(t, p, "pool_panic_on")
		seconds(0.5)
		w.set(func() { w.sick["c:1"], w.sick["d:1"] = true, true })
		seconds(3)
		expectServed(t, p, "a:1", "b:1")
		if len(seen()) > 0 {
			t.Errorf("events %q", seen())
		}
		w.set(func() { w.sick["a:1"], w.sick["b:1"] = true, true }) // nobody is left
		seconds(3)
		expectServed(t, p, "a:1", "b:1", "c:1", "d:1")
	})
	lbtest.NoLeaks(t)
}

// Below the ratio, health is ignored; at it, it is not. It is said when that
// begins and when it ends.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, nil, proxy("wrr", dials("a:1", "b:1", "c:1", "d:1")+`,"panic":0.5,"guard":false,`+check(t, "")))
		seen := events(t, p)
		seconds(0.5)
		w.set(func() { w.sick["a:1"], w.sick["b:1"] = true, true })
		seconds(3)
		expectServed(t, p, "c:1", "d:1")
		w.set(func() { w.sick["c:1"] = true })
		seconds(3)
		expectServed(t, p, "a:1", "b:1", "c:1", "d:1")
		w.set(func() { clear(w.sick) })
		seconds(3)
		got := slices.DeleteFunc(steps(seen()), func(name string) bool { return strings.HasPrefix(name, "backend") })
		if !slices.Equal(got, []string{"pool_panic_on", "pool_panic_off"}) {
			t.Errorf("events %v", seen())
		}
	})
}

// The native counters' fault: failures that are not consecutive add up.
func TestFailuresThatAreNotConsecutive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		config := proxy("wrr", dials("a:1", "b:1", "c:1")+","+strings.Replace(check(t, ""), `"fails":1`, `"fails":3`, 1))
		p := load(t, nil, config)
		seen := events(t, p)
		seconds(0.5)
		for _, sick := range []bool{true, false, false, true, false, false, true, false, true, true, false} {
			w.set(func() { w.sick["a:1"] = sick })
			seconds(1)
		}
		if len(seen()) > 0 {
			t.Errorf("events %v", seen())
		}
		w.set(func() { w.sick["a:1"] = true })
		seconds(3)
		if count(seen(), "backend_down") != 1 {
			t.Errorf("not down after three failures: %v", seen())
		}
	})
}

// The tiers of a group take no requests of another group: where most of a pool fail the check, those of the main
// group are held, though a tier of another group could take its requests.
func TestGuardLooksAtTheTiersOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		three := strings.Replace(check(t, ""), `"fails":1`, `"fails":3`, 1)
		p, err := lbtest.Load(t, nil, proxy("wrr", `"name":"web",`+dials("a:1", "b:1")+`,"groups":[{"name":"green","share":0.5,
			"backends":[{"dial":"c:1"},{"dial":"d:1","tier":1}]}],`+three), answering("a:1", "b:1", "c:1", "d:1"))
		if err != nil {
			t.Fatal(err)
		}
		traffic{rate: 50, length: 2 * time.Second}.send(p)
		w.set(func() { w.sick["a:1"], w.sick["b:1"], w.sick["c:1"] = true, true, true })
		lost := traffic{rate: 50, length: 4 * time.Second}.send(p).lost
		got := traffic{rate: 50, length: 5 * time.Second}.send(p)
		if lost += got.lost; lost > 0 || got.served["a:1"] == 0 || got.served["b:1"] == 0 || got.served["c:1"] > 0 {
			t.Errorf("served by %v, %d lost; want a and b to be held, and d to stand in for c", got.served, lost)
		}
	})
}
