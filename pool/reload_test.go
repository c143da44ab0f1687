// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// reload runs the new configuration before it stops the old one, as Caddy does.
func reload(t *testing.T, old *lbtest.Proxy, config string) *lbtest.Proxy {
	t.Helper()
	p := load(t, nil, config)
	old.Close()
	return p
}

// A backend that is down stays down through reloads, named pool or not, though
// other members come and go; it is neither probed twice as often nor forgotten.
func TestStateOutlivesReloads(t *testing.T) {
	for _, name := range []string{"", `"name":"web",`} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.sick["a:1"] = true
			p := load(t, nil, proxy("wrr", name+dials("a:1", "b:1")+","+check(t, "")))
			seconds(0.5)
			for range 50 {
				p = reload(t, p, proxy("wrr", name+dials("a:1", "b:1", "c:1")+","+check(t, "")))
				expectServed(t, p, "b:1", "c:1")
				p = reload(t, p, proxy("wrr", name+dials("b:1", "a:1")+","+check(t, `,"passes":3`)))
				expectServed(t, p, "b:1")
				seconds(0.2)
			}
			// 10.5 s, and the first probe at once.
			if n := w.probes["a:1"]; n != 11 {
				t.Errorf("%s: %d probes, want 11", name, n)
			}
			if got := p.Logged(); len(got) != 0 {
				t.Errorf("%s: logged %q though nothing turned", name, got)
			}
		})
	}
	lbtest.NoLeaks(t)
}

// What a check has found is no answer to another question.
func TestChangedCheckStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		p := load(t, nil, proxy("wrr", `"name":"web",`+dials("a:1", "b:1")+","+check(t, "")))
		seconds(0.5)
		expectServed(t, p, "b:1")
		w.set(func() { w.sick["a:1"] = false })
		p = reload(t, p, proxy("wrr", `"name":"web",`+dials("a:1", "b:1")+","+check(t, `,"uri":"/other"`)))
		expectServed(t, p, "a:1", "b:1")
	})
}

// A configuration that is rejected, at whatever point, changes nothing.
func TestRejectedReload(t *testing.T) {
	for _, name := range []string{"", `"name":"web",`} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.sick["a:1"] = true
			config := proxy("wrr", name+dials("a:1", "b:1")+","+check(t, ""))
			p := load(t, nil, config)
			seconds(0.5)
			for range 3 {
				for _, bad := range []string{
					strings.Replace(config, `"interval":"1s"`, `"interval":-1`, 1),                                  // the check fails
					strings.Replace(config, `"dial":"b:1"`, `"dial":"b:1","tier":-1`, 1),                            // the pool fails
					strings.Replace(config, `"transport"`, `"health_checks":{"active":{"uri":"/"}},"transport"`, 1), // the proxy fails, with the pool made
				} {
					if _, err := lbtest.Load(t, nil, bad, abc); err == nil {
						t.Fatalf("accepted %s", bad)
					}
				}
				// All is well but something else fails to start: Caddy stops and
				// cleans up what it had started.
				rejected := load(t, nil, strings.Replace(config, `"dial":"b:1"`, `"dial":"b:1","weight":0`, 1))
				rejected.Close()
				expectServed(t, p, "b:1")
				seconds(1)
				expectServed(t, p, "b:1")
			}
			if n := w.probes["a:1"]; n != 4 {
				t.Errorf("%d probes in 3.5 s, want 4", n)
			}
			w.set(func() { w.sick["a:1"] = false })
			seconds(2)
			expectServed(t, p, "a:1", "b:1")
			if got := p.Logged(); len(got) != 2 {
				t.Errorf("logged %q, want one line down and one up", got)
			}
		})
	}
}

// A request that began before a reload retries on backends of its configuration, but not on one that was
// removed since, unless that is back at once.
func TestRemovedBackendGetsNoRetryAfterReload(t *testing.T) {
	for _, policy := range append(lbtest.PolicyConfigs(lbtest.ByWeight, lbtest.ByLoad, lbtest.ByLatency), `{"policy":"ring_hash","key":"uri"}`) {
		for retry, pool := range map[string]string{`,"retries":1`: "", "": `,"retry":{"tries":1}`} {
			for change, want := range map[string]int64{"none": 1, "removed": 0, "back": 1} {
				synctest.Test(t, func(t *testing.T) {
					var got atomic.Int64
					backends := lbtest.Backends{
						"a:1": func(req *http.Request) (int, error) {
							lbtest.Wait(req.Context(), 5*time.Second)
							return lbtest.Refused(req)
						},
						"b:1": func(*http.Request) (int, error) { got.Add(1); return http.StatusOK, nil },
					}
					config := `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":` + policy + retry + `},"dynamic_upstreams":{"source":"pool","name":"web"}}`
					start := func() *lbtest.Proxy {
						p, err := lbtest.Load(t, app(`"web":{`+dials("a:1")+pool+`}`), config, backends)
						if err != nil {
							t.Fatal(err)
						}
						return p
					}
					old := start()
					var wg sync.WaitGroup
					wg.Go(func() { _, _ = old.Do(newRequest()) })
					synctest.Wait()
					add(t, "b:1")
					seconds(1)
					p := start()
					old.Close()
					if change != "none" {
						remove(t, "b:1")
					}
					if change == "back" {
						add(t, "b:1")
					}
					wg.Wait()
					if got.Load() != want {
						t.Errorf("%s, %s%s, %s: b:1 got %d requests, want %d", policy, retry, pool, change, got.Load(), want)
					}
					p.Close()
				})
			}
		}
	}
	lbtest.NoLeaks(t)
}

// loadAll is lbtest.LoadAll that must succeed.
func loadAll(t *testing.T, apps caddy.ModuleMap, configs ...string) []*lbtest.Proxy {
	t.Helper()
	proxies, err := lbtest.LoadAll(t, apps, abc, configs...)
	if err != nil {
		t.Fatal(err)
	}
	return proxies
}

// Two unnamed pools of one configuration that are alike keep to themselves: each
// is probed, and what both know outlives reloads.
func TestDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		route := proxy("wrr", dials("a:1", "b:1")+","+check(t, ""))
		old := loadAll(t, nil, route, route)
		seconds(0.5)
		if n := w.probes["a:1"]; n != 2 {
			t.Errorf("%d probes at once, want 2", n)
		}
		for range 3 {
			duplicates := loadAll(t, nil, route, route)
			old[0].Close()
			expectServed(t, duplicates[0], "b:1")
			expectServed(t, duplicates[1], "b:1")
			old = duplicates
			seconds(1)
		}
		if n := w.probes["a:1"]; n != 8 {
			t.Errorf("%d probes in 3.5 s, want 8", n)
		}
	})
}

// One pool of the app serves several proxies: each probe is made once.
func TestSharedPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		proxies := loadAll(t, app(`"web":{`+dials("a:1", "b:1")+","+check(t, "")+`}`), proxy("wrr", `"name":"web"`), proxy("p2c", `"name":"web"`))
		w.set(func() { w.sick["a:1"] = true })
		seconds(2.5)
		if n := w.probes["a:1"]; n != 3 {
			t.Errorf("%d probes in 2.5 s, want 3", n)
		}
		expectServed(t, proxies[0], "b:1")
		expectServed(t, proxies[1], "b:1")
	})
	lbtest.NoLeaks(t)
}

func TestNamesAreDefinedOnce(t *testing.T) {
	for config, want := range map[string]string{
		proxy("", `"name":"web",`+dials("a:1")): "defined twice",
		proxy("", `"name":"nope"`):              `no pool "nope" in the ballast global option; write one of: web`,
		proxy("", `"name":"a/b",`+dials("a:1")): "one word without colon",
	} {
		if _, err := lbtest.Load(t, app(`"web":{`+dials("a:1")+`}`), config, abc); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
	if _, err := lbtest.Load(t, nil, proxy("", `"name":"nope"`), abc); err == nil || !strings.Contains(err.Error(), "defines none") {
		t.Errorf("got %v", err)
	}
}
