// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// manager returns what changes the pool web.
func manager(t *testing.T) membership.Manager {
	t.Helper()
	p := pool.Current("web")
	if p == nil {
		t.Fatal("there is no pool web")
	}
	return p.Manager()
}

func add(t *testing.T, address string) {
	t.Helper()
	if b, err := manager(t).Add(membership.Addition{Address: address}); err != nil || b.Address != address {
		t.Fatalf("adding %s: %v, %v", address, b, err)
	}
}

func remove(t *testing.T, id string) {
	t.Helper()
	if _, err := manager(t).Remove(id, membership.Removal{}); err != nil {
		t.Fatalf("removing %s: %v", id, err)
	}
}

func admin(a health.Admin) membership.Change { return membership.Change{Admin: &a} }

func to(n int) *membership.Override { return &membership.Override{Value: &n} }

func alter(t *testing.T, id string, c membership.Change) {
	t.Helper()
	if _, err := manager(t).Change(id, c); err != nil {
		t.Fatalf("changing %s: %v", id, err)
	}
}

// shares is served after the views of the start, each of which begins a cycle anew.
func shares(t *testing.T, p *lbtest.Proxy, n int) map[string]int {
	t.Helper()
	seconds(1)
	return served(t, p, n)
}

const web = `"name":"web",`

// rejects loads a configuration that fails when its apps have started.
func rejects(t *testing.T, config string) {
	t.Helper()
	p := load(t, nil, config)
	p.Close()
}

// A backend that was added serves the next request, through reloads that know
// nothing of it, accepted or not, until one names it: then it belongs to the
// configuration, and goes with it.
func TestAddedBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := proxy("wrr", web+dials("a:1"))
		p := load(t, nil, plain)
		add(t, "b:1")
		expectServed(t, p, "a:1", "b:1")
		if _, err := manager(t).Add(membership.Addition{Address: "b:1"}); !errors.Is(err, membership.ErrExists) {
			t.Errorf("added twice: %v", err)
		}
		for range 3 {
			p = reload(t, p, plain)
			expectServed(t, p, "a:1", "b:1")
		}
		naming := proxy("wrr", web+`"backends":[{"dial":"a:1"},{"dial":"b:1","weight":3,"id":"bee"}]`)
		rejects(t, naming)
		expectServed(t, p, "a:1", "b:1")
		if id := member(t, "b:1").ID; id != "b:1" {
			t.Errorf("a rejected configuration has named it %s", id)
		}
		alter(t, "b:1", admin(health.Drain))
		p = reload(t, p, naming)
		expectServed(t, p, "a:1")
		alter(t, "bee", admin(health.Ready))
		if got := shares(t, p, 80); got["b:1"] != 60 {
			t.Errorf("served by %v, want by the configured weights", got)
		}
		p = reload(t, p, plain)
		expectServed(t, p, "a:1")
	})
	lbtest.NoLeaks(t)
}

// A configured backend that was removed stays away while the configuration says
// the same of it.
func TestRemovedBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := proxy("wrr", web+dials("a:1", "b:1"))
		p := load(t, nil, plain)
		remove(t, "b:1")
		expectServed(t, p, "a:1")
		if _, err := manager(t).Remove("b:1", membership.Removal{}); !errors.Is(err, membership.ErrUnknown) {
			t.Errorf("removed twice: %v", err)
		}
		p = reload(t, p, plain)
		expectServed(t, p, "a:1")
		p = reload(t, p, proxy("wrr", web+dials("a:1", "c:1", "b:1")))
		expectServed(t, p, "a:1", "c:1")
		changed := proxy("wrr", web+`"backends":[{"dial":"a:1"},{"dial":"b:1","weight":2}]`)
		rejects(t, changed)
		expectServed(t, p, "a:1", "c:1")
		p = reload(t, p, changed)
		expectServed(t, p, "a:1", "b:1")
		p = reload(t, p, plain)
		expectServed(t, p, "a:1", "b:1")

		remove(t, "b:1") // and it comes back as an operator says
		w := 3
		if _, err := manager(t).Add(membership.Addition{Address: "b:1", Settings: backend.Settings{ID: "bee", Weight: &w}}); err != nil {
			t.Fatal(err)
		}
		if got := shares(t, p, 80); got["b:1"] != 60 {
			t.Errorf("served by %v", got)
		}
		remove(t, "bee")
		p = reload(t, p, plain)
		expectServed(t, p, "a:1")
		p = reload(t, p, proxy("wrr", web+dials("a:1")))
		p = reload(t, p, plain)
		expectServed(t, p, "a:1", "b:1")
		remove(t, "a:1")
		remove(t, "b:1")
		expectNone(t, p, pool.ReasonEmpty)
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// A backend that discovery finds stays removed until it is found no more.
func TestRemovedDiscovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"b:1", "c:1"}
		p := load(t, nil, proxy("wrr", web+dials("a:1")+fmt.Sprintf(`,"refresh":"1s","sources":[{"source":"fake","world":%q}]`, t.Name())))
		seconds(0.5)
		expectServed(t, p, "a:1", "b:1", "c:1")
		remove(t, "b:1")
		seconds(3)
		expectServed(t, p, "a:1", "c:1")
		w.set(func() { w.found = []string{"c:1"} })
		seconds(2)
		w.set(func() { w.found = []string{"b:1", "c:1"} })
		seconds(2)
		expectServed(t, p, "a:1", "b:1", "c:1")
	})
	lbtest.NoLeaks(t)
}

// What an operator changes counts for the next request, and through reloads, and
// can be undone.
func TestChangedBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := proxy("wrr", web+`"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1","weight":0}]`)
		p := load(t, nil, config)
		alter(t, "a:1", membership.Change{Weight: to(3), MaxRequests: to(7)})
		alter(t, "c:1", membership.Change{Weight: to(4)})
		for range 2 {
			if got := shares(t, p, 80); got["a:1"] != 30 || got["b:1"] != 10 || got["c:1"] != 40 {
				t.Errorf("served by %v", got)
			}
			if b := member(t, "a:1"); b.Limit() != 7 {
				t.Errorf("the limit is %d", b.Limit())
			}
			p = reload(t, p, config)
		}
		alter(t, "c:1", membership.Change{Weight: new(membership.Override)})
		alter(t, "a:1", membership.Change{MaxRequests: new(membership.Override), Weight: new(membership.Override)})
		if got := shares(t, p, 80); got["a:1"] != 40 || got["b:1"] != 40 || member(t, "a:1").Limit() != 0 {
			t.Errorf("served by %v after all was undone", got)
		}
		for state, want := range map[health.Admin]string{health.Drain: "drain", health.Maint: "maint", health.Ready: "up"} {
			alter(t, "a:1", admin(state))
			if c := member(t, "a:1").Condition(); c.State != want {
				t.Errorf("%v: %+v", state, c)
			}
		}
		for _, bad := range []membership.Change{{Weight: to(-1)}, {Weight: to(65536)}, {MaxRequests: to(-1)}} {
			if _, err := manager(t).Change("a:1", bad); err == nil {
				t.Errorf("accepted %+v", bad)
			}
		}
		if _, err := manager(t).Change("x:1", admin(health.Ready)); !errors.Is(err, membership.ErrUnknown) {
			t.Errorf("changed a stranger: %v", err)
		}
		p.Close()
	})
}

// A request in flight on a backend that is removed ends as if nothing had happened,
// and counts for the limit of the one that comes back meanwhile.
func TestRemoveCutsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backends := answering("a:1")
		backends["b:1"] = lbtest.Latency(10 * time.Second)
		p, err := lbtest.Load(t, nil, proxy("wrr", web+dials("a:1")), backends)
		if err != nil {
			t.Fatal(err)
		}
		one, none := 1, 0
		again := func() {
			if _, err := manager(t).Add(membership.Addition{Address: "b:1", Settings: backend.Settings{MaxRequests: &one}}); err != nil {
				t.Fatal(err)
			}
		}
		again()
		alter(t, "a:1", membership.Change{Weight: &membership.Override{Value: &none}})
		var wg sync.WaitGroup
		wg.Go(func() {
			if who, err := p.Get(); who != "b:1" || err != nil {
				t.Errorf("%s, %v", who, err)
			}
		})
		synctest.Wait()
		remove(t, "b:1")
		alter(t, "a:1", membership.Change{Weight: new(membership.Override)})
		expectServed(t, p, "a:1")
		seconds(5)
		again()
		if b := member(t, "b:1"); b.Taken() != 1 {
			t.Errorf("%d slots are taken, want that of the request", b.Taken())
		}
		expectServed(t, p, "a:1")
		remove(t, "b:1")
		wg.Wait()
		seconds(2)
		again()
		if b := member(t, "b:1"); b.Taken() != 0 || b.Totals().Requests != 0 {
			t.Errorf("one that came back after it was empty has %+v", b.Totals())
		}
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// With persist, what an operator does is in the storage when he is told that it
// was done, and a process that dies then finds it when it starts again.
func TestRunTimeChangesAreKept(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		pools := `"web":{` + dials("a:1", "b:1", "c:1") + `}`
		start := func() *lbtest.Proxy {
			p, err := lbtest.Load(t, kept(t, pools), proxy("wrr", webByName), answering("a:1", "b:1", "c:1", "d:1", "e:1"))
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		p := start()
		weight := 2
		if _, err := manager(t).Add(membership.Addition{Address: "d:1", Settings: backend.Settings{ID: "dee", Weight: &weight, Zone: "west", Meta: map[string]string{"k": "v"}}}); err != nil {
			t.Fatal(err)
		}
		add(t, "e:1")
		alter(t, "e:1", admin(health.Maint))
		remove(t, "b:1")
		alter(t, "a:1", membership.Change{Weight: to(2), MaxRequests: to(9)})
		add(t, "f:1")
		alter(t, "f:1", admin(health.Drain))
		remove(t, "f:1")
		_, died := v.only(t)
		p.Close()
		v.set(func() { // what it had written when it was killed
			for key := range v.files {
				v.files[key] = []byte(died)
			}
		})
		p = start()
		if got := shares(t, p, 100); got["a:1"] != 40 || got["c:1"] != 20 || got["d:1"] != 40 || len(got) != 3 {
			t.Errorf("served by %v", got)
		}
		if b := member(t, "a:1"); b.Limit() != 9 {
			t.Errorf("the limit is %d", b.Limit())
		}
		if b := member(t, "d:1"); b.ID != "dee" || b.Zone != "west" || b.Meta["k"] != "v" {
			t.Errorf("%+v", b.Endpoint)
		}
		if s := member(t, "e:1").Condition().State; s != "maint" {
			t.Errorf("e:1 is %s", s)
		}
		if b := pool.Current("web").Find("f:1"); b != nil {
			t.Error("one that was removed is back")
		}
		remove(t, "dee")
		remove(t, "e:1")
		p.Close()
		p = start()
		expectServed(t, p, "a:1", "c:1")
		add(t, "e:1") // anew: nobody has asked anything of this one
		expectServed(t, p, "a:1", "c:1", "e:1")
		p.Close()
	})
}

// A registration that is not repeated ends, and one that is goes on; also through a
// reload.
func TestRegistrationsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := proxy("wrr", web+dials("a:1"))
		p := load(t, nil, config)
		register := func(address string) error {
			_, err := manager(t).Add(membership.Addition{Address: address, Registered: true, TTL: 10 * time.Second})
			return err
		}
		for i := range 6 {
			if err := errors.Join(register("b:1"), register("a:1")); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				if err := register("c:1"); err != nil {
					t.Fatal(err)
				}
			}
			seconds(4)
			p = reload(t, p, config)
		}
		expectServed(t, p, "a:1", "b:1")
		if _, err := manager(t).Remove("a:1", membership.Removal{Registered: true}); !errors.Is(err, membership.ErrUnknown) {
			t.Errorf("a configured backend has left: %v", err)
		}
		seconds(5.9) // 9.9 s after the latest
		expectServed(t, p, "a:1", "b:1")
		seconds(0.2)
		expectServed(t, p, "a:1")
		if got := p.Logged("backend", "reason"); !slices.Contains(got, "backend was removed b:1 its registration expired") {
			t.Errorf("logged %q", got)
		}
	})
	lbtest.NoLeaks(t)
}

// What an operator has asked of a backend stays for a day, though the backend leaves
// and comes back; unless he has removed it himself.
func TestMaintenanceOutlivesRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := load(t, nil, proxy("wrr", web+dials("a:1")))
		register := func() {
			t.Helper()
			if _, err := manager(t).Add(membership.Addition{Address: "b:1", Registered: true, TTL: time.Minute}); err != nil {
				t.Fatal(err)
			}
		}
		state := func() string { return member(t, "b:1").Condition().State }
		register()
		alter(t, "b:1", admin(health.Maint))
		if _, err := manager(t).Remove("b:1", membership.Removal{Registered: true}); err != nil {
			t.Fatal(err)
		}
		seconds(3600)
		register()
		if s := state(); s != "maint" {
			t.Errorf("%s after it has left and come back", s)
		}
		seconds(23 * 3600) // not heard for that long
		register()
		if s := state(); s != "maint" {
			t.Errorf("%s after its registration was over", s)
		}
		seconds(26 * 3600)
		register()
		if s := state(); s != "up" {
			t.Errorf("%s after more than a day", s)
		}
		alter(t, "b:1", admin(health.Maint))
		remove(t, "b:1")
		register()
		if s := state(); s != "up" {
			t.Errorf("%s after an operator has removed it", s)
		}
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// What many do at once is what they could have done one after the other: of those
// that add the same one, one does, and the state is that of one of the writers.
func TestParallelOperators(t *testing.T) {
	p := load(t, nil, proxy("p2c", web+dials("a:1", "b:1")))
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := make(map[string]int)
	for i := range 100 {
		wg.Go(func() {
			m := manager(t)
			count := func(what string, err error) {
				if errors.Is(err, membership.ErrExists) || errors.Is(err, membership.ErrUnknown) {
					return
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				done[what]++
				mu.Unlock()
			}
			n := i + 1
			_, err := m.Change("b:1", membership.Change{Weight: to(n), MaxRequests: to(n)})
			count("change", err)
			_, err = m.Add(membership.Addition{Address: "c:1", Settings: backend.Settings{Weight: &n, MaxRequests: &n}})
			count("add", err)
			if i%2 == 0 {
				_, err = m.Remove("c:1", membership.Removal{})
				count("remove", err)
			}
			_, _ = p.Get()
		})
	}
	wg.Wait()
	b := member(t, "b:1")
	if w := int(b.EffectiveWeight()); w < 1 || b.Limit() != w {
		t.Errorf("weight %d of one writer, and max_requests %d of another", w, b.Limit())
	}
	here := 0
	if c := pool.Current("web").Find("c:1"); c != nil {
		here = 1
		if c.Weight != c.MaxRequests {
			t.Errorf("weight %d of one writer, and max_requests %d of another", c.Weight, c.MaxRequests)
		}
	}
	if done["change"] != 100 || done["add"]-done["remove"] != here {
		t.Errorf("%v, and %d are left", done, here)
	}
}

// Operators work on while configurations come and go, accepted or not: what they
// have done is there when all is quiet again.
func TestOperatorsBesideReloads(t *testing.T) {
	config := proxy("p2c", web+dials("a:1", "b:1"))
	p := load(t, nil, config)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			address := fmt.Sprintf("x%d:1", i)
			for n := 0; ; n++ {
				select {
				case <-stop:
					if n%2 == 1 { // the last is that it is there
						return
					}
				default:
				}
				m := pool.Current("web").Manager()
				var err error
				if n%2 == 0 {
					_, err = m.Add(membership.Addition{Address: address, Registered: i == 0, TTL: time.Hour})
				} else {
					_, err = m.Remove(address, membership.Removal{Registered: i == 0})
				}
				if err == nil {
					_, err = m.Change("b:1", membership.Change{Weight: to(n % 9)})
				}
				if err != nil {
					t.Errorf("%s, %d: %v", address, n, err)
					return
				}
			}
		})
	}
	for i := range 40 {
		if i%4 == 3 {
			rejects(t, proxy("p2c", web+dials("a:1", "b:1", "c:1")))
			continue
		}
		p = reload(t, p, config)
	}
	close(stop)
	wg.Wait()
	if got := len(pool.Current("web").View().Members.All); got != 6 {
		t.Errorf("%d members, want 2 and 4 that were added", got)
	}
	p.Close()
	lbtest.NoLeaks(t)
}

// What comes from outside is checked as the configuration is.
func TestAdditionsAreChecked(t *testing.T) {
	load(t, nil, proxy("wrr", web+dials("a:1")))
	weight, meta := 65536, make(map[string]string)
	for i := range 101 {
		meta[fmt.Sprint(i)] = ""
	}
	for name, a := range map[string]membership.Addition{
		"no address": {}, "a placeholder": {Address: "{x}:1"}, "a range": {Address: "x:1-3"}, "a path": {Address: "http://x:1/y"},
		"a weight": {Address: "x:1", Settings: backend.Settings{Weight: &weight}}, "a tier": {Address: "x:1", Settings: backend.Settings{Tier: -1}}, "a scheme": {Address: "https://x:1"},
		"control": {Address: "x:1", Settings: backend.Settings{ID: "a\nb"}}, "a long id": {Address: "x:1", Settings: backend.Settings{ID: strings.Repeat("x", 513)}},
		"much meta": {Address: "x:1", Settings: backend.Settings{Meta: meta}}, "a ttl": {Address: "x:1", TTL: -1}, "an id that is there": {Address: "x:1", Settings: backend.Settings{ID: "a:1"}},
	} {
		if b, err := manager(t).Add(a); err == nil {
			t.Errorf("%s: added %v", name, b.Endpoint)
		}
	}
	for address, want := range map[string]string{"http://X:80": "x:80", "[::1]:1": "[::1]:1", "unix//run/x.sock": "unix//run/x.sock"} {
		b, err := manager(t).Add(membership.Addition{Address: address})
		if err != nil || b.Address != want {
			t.Errorf("%s: %v, %v", address, b, err)
		}
	}
	if got := slices.Sorted(maps.Keys(map[string]bool{string(manager(t).Origin("x:80")): true, string(manager(t).Origin("a:1")): true})); !slices.Equal(got, []string{"configuration", "operator"}) {
		t.Errorf("origins %v", got)
	}
}
