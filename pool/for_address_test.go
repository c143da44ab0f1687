// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// forAddress makes a change apply to every instance at the address.
func forAddress(c membership.Change) membership.Change {
	c.ForAddress = true
	return c
}

// twoInstances lists an instance 1 of a:1 and an instance x of b:1 in a registry. replace replaces the instance of a:1,
// and waits until the pool has it.
func twoInstances(t *testing.T) (r *registry, replace func(instance string)) {
	r = newRegistry(t)
	r.set(of("a:1", "1"), of("b:1", "x"))
	return r, func(instance string) {
		r.set(of("a:1", instance), of("b:1", "x"))
		seconds(0.2)
	}
}

// loadPushed loads the pool web with the backends of the registry.
func loadPushed(t *testing.T) *lbtest.Proxy {
	p := load(t, nil, proxy("wrr", web+pushing(t, "")))
	seconds(0.5)
	return p
}

// expectForAddress checks which fields of a:1 in the pool web are changed for its address.
func expectForAddress(t *testing.T, want ...string) {
	t.Helper()
	if got := manager(t).ForAddress("a:1"); !slices.Equal(got, want) {
		t.Errorf("for the address are %q, want %q", got, want)
	}
}

// A change for an address applies to every instance there, until the next change of the same field, for the address
// or for the instance. Reloads, accepted or rejected, and a day without a backend do not end it.
func TestForAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := twoInstances(t)
		config := proxy("wrr", web+pushing(t, ""))
		p := load(t, nil, config)
		changed := recordEvents(t, p, func(e caddy.Event) string { return fmt.Sprint(e.Data["reason"]) }, "backend_changed")
		seconds(0.5)
		alter(t, "a:1", forAddress(membership.Change{Weight: to(3)}))
		alter(t, "a:1", forAddress(admin(health.Drain)))
		alter(t, "b:1", membership.Change{MaxRequests: to(9)})
		expectServed(t, p, "b:1")
		expectForAddress(t, "state", "weight")
		before := member(t, "a:1").State
		r.set(of("a:1", "2"), of("b:1", "y"))
		seconds(0.2)
		a := member(t, "a:1")
		if a.State == before || a.AdminState() != health.Drain || a.EffectiveWeight() != 3 || member(t, "b:1").Limited() {
			t.Errorf("the next instance: %+v, weight %g", a.Condition(), a.EffectiveWeight())
		}
		expectServed(t, p, "b:1")
		rejects(t, config)
		seconds(1)
		expectForAddress(t, "state", "weight")
		events := changed()
		p = reload(t, p, config)
		r.set(of("b:1", "y"))
		seconds(23 * 3600)
		r.set(of("a:1", "3"), of("b:1", "y"))
		seconds(0.2)
		expectServed(t, p, "b:1")
		alter(t, "a:1", admin(health.Ready)) // of the instance
		expectForAddress(t, "weight")
		if got := shares(t, p, 80); got["a:1"] != 60 {
			t.Errorf("served by %v, want by the weights 3 and 1", got)
		}
		r.set(of("a:1", "4"), of("b:1", "y"))
		seconds(0.2)
		if got := shares(t, p, 80); got["a:1"] != 60 {
			t.Errorf("served by %v, want by the weights 3 and 1", got)
		}
		alter(t, "a:1", forAddress(membership.Change{Weight: new(membership.Override)}))
		expectForAddress(t)
		r.set(of("a:1", "5"), of("b:1", "y"))
		seconds(0.2)
		if got := shares(t, p, 80); got["a:1"] != 40 {
			t.Errorf("served by %v, want by equal weights", got)
		}
		if want := []string{"weight 3, for the address", "drain, for the address", "max_requests 9"}; !slices.Equal(events, want) {
			t.Errorf("events %q, want %q", events, want)
		}
	})
	lbtest.NoLeaks(t)
}

// The scope of a change can be changed alone. A change for the instance ends with the instance. Ready for the address
// also applies to an instance that was drained before and returns.
func TestForAddressOrInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, replace := twoInstances(t)
		p := loadPushed(t)
		changed := recordEvents(t, p, func(e caddy.Event) string { return fmt.Sprint(e.Data["reason"]) }, "backend_changed")
		alter(t, "a:1", admin(health.Drain))
		alter(t, "a:1", admin(health.Drain)) // nothing new
		alter(t, "a:1", forAddress(admin(health.Drain)))
		alter(t, "a:1", forAddress(admin(health.Drain))) // nothing new
		expectForAddress(t, "state")
		alter(t, "a:1", admin(health.Drain))
		expectForAddress(t)
		replace("2")
		expectServed(t, p, "a:1", "b:1")
		alter(t, "a:1", forAddress(admin(health.Maint)))
		replace("3")
		expectServed(t, p, "b:1")
		alter(t, "a:1", forAddress(admin(health.Ready)))
		for _, instance := range []string{"1", "2", "4"} {
			replace(instance)
			expectServed(t, p, "a:1", "b:1")
		}
		want := []string{"drain", "for the address", "for the instance only", "maint, for the address", "ready, for the address"}
		if got := changed(); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
	lbtest.NoLeaks(t)
}

// A change for an address is kept while a backend is there, and for a day afterwards.
func TestForAddressIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, replace := twoInstances(t)
		p := loadPushed(t)
		alter(t, "a:1", forAddress(admin(health.Maint)))
		for i, tt := range []struct {
			there, away float64 // in hours
			kept        bool
		}{{100, 23.9, true}, {0.1, 23.9, true}, {0, 25.1, false}} {
			seconds(tt.there * 3600)
			r.set(of("b:1", "x"))
			seconds(tt.away * 3600)
			replace(fmt.Sprint("next", i))
			if got := member(t, "a:1").AdminState() == health.Maint; got != tt.kept {
				t.Errorf("%v hours there and %v away: kept is %v", tt.there, tt.away, got)
			}
		}
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// A removal by an operator ends the changes for the address. A backend that leaves by itself does not end them.
func TestForAddressEndsWithRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, replace := twoInstances(t)
		p := loadPushed(t)
		alter(t, "a:1", forAddress(admin(health.Drain)))
		remove(t, "a:1")
		expectForAddress(t)
		r.set(of("b:1", "x"))
		seconds(0.2)
		replace("2")
		expectServed(t, p, "a:1", "b:1")

		register := func(instance string) {
			t.Helper()
			if _, err := manager(t).Add(membership.Addition{Address: "c:1", Registered: true, Settings: backend.Settings{Instance: instance}}); err != nil {
				t.Fatal(err)
			}
		}
		register("1")
		alter(t, "c:1", forAddress(admin(health.Drain)))
		if _, err := manager(t).Remove("c:1", membership.Removal{Registered: true}); err != nil {
			t.Fatal(err)
		}
		register("2")
		expectServed(t, p, "a:1", "b:1")
		remove(t, "c:1")
		register("3")
		expectServed(t, p, "a:1", "b:1", "c:1")
	})
	lbtest.NoLeaks(t)
}

// With persist, changes for an address survive a restart, however long it takes, and so does the end of a change.
func TestForAddressOutlivesRestart(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		r, _ := twoInstances(t)
		apps := func() caddy.ModuleMap { return kept(t, `"web":{`+pushing(t, "")+`}`) }
		p := load(t, apps(), proxy("wrr", webByName))
		seconds(3)
		alter(t, "a:1", membership.Change{Admin: new(health.Maint), Weight: to(3), MaxRequests: to(7), ForAddress: true})
		alter(t, "b:1", admin(health.Drain))
		if _, data := v.only(t); !strings.Contains(data, `"for_address":{"pool":"web","admin":"maint","weight":3,"max_requests":7}`) {
			t.Errorf("before the answer, the storage holds %s", data)
		}
		p.Close()
		time.Sleep(100 * 24 * time.Hour)
		r.set(of("a:1", "2"), of("b:1", "y"))
		p = load(t, apps(), proxy("wrr", webByName))
		seconds(1)
		a := member(t, "a:1")
		if a.AdminState() != health.Maint || a.EffectiveWeight() != 3 || a.Limit() != 7 || member(t, "b:1").AdminState() != health.Ready {
			t.Errorf("%+v, weight %g, limit %d; the other instance of b:1 is %v", a.Condition(), a.EffectiveWeight(), a.Limit(), member(t, "b:1").AdminState())
		}
		expectForAddress(t, "state", "weight", "max_requests")
		alter(t, "a:1", admin(health.Ready))
		p.Close()
		r.set(of("a:1", "3"), of("b:1", "y"))
		p = load(t, apps(), proxy("wrr", webByName))
		seconds(1)
		if a := member(t, "a:1"); a.AdminState() != health.Ready || a.EffectiveWeight() != 3 {
			t.Errorf("%+v, weight %g", a.Condition(), a.EffectiveWeight())
		}
		remove(t, "a:1")
		if _, data := v.only(t); strings.Contains(data, "for_address") {
			t.Errorf("after the removal, the storage holds %s", data)
		}
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// A snapshot with an invalid change for an address is unusable.
func TestForAddressIsChecked(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		config := func() caddy.ModuleMap { return kept(t, `"web":{`+dials("a:1", "b:1")+`}`) }
		p := load(t, config(), proxy("wrr", webByName))
		alter(t, "a:1", forAddress(admin(health.Drain)))
		p.Close()
		key, good := v.only(t)
		for _, bad := range []string{`"admin":"gone"`, `"weight":-1`, `"weight":65536`, `"max_requests":-1`, `"pool":""`} {
			data := strings.Replace(good, `"for_address":{"pool":"web","admin":"drain"}`, `"for_address":{"pool":"web",`+bad+`}`, 1)
			if strings.Contains(bad, "pool") {
				data = strings.Replace(good, `{"pool":"web","admin":"drain"}`, `{"pool":"","admin":"drain"}`, 1)
			}
			if data == good || !json.Valid([]byte(data)) {
				t.Fatalf("%s is not in %s", bad, good)
			}
			v.set(func() { v.files[key] = []byte(data) })
			p := load(t, config(), proxy("wrr", webByName))
			if got := p.Logged(); !slices.Contains(got, "saved backend state is unusable; starting without it") {
				t.Errorf("%s: logged %q", bad, got)
			}
			if member(t, "a:1").AdminState() != health.Ready {
				t.Errorf("%s was restored", bad)
			}
			p.Close()
		}
	})
	lbtest.NoLeaks(t)
}

// An instance that appears while an operator changes the address gets the latest change.
func TestForAddressWhileInstancesChange(t *testing.T) {
	r := newRegistry(t)
	r.set(of("a:1", "0"), of("b:1", "x"))
	config := proxy("wrr", web+pushing(t, ""))
	synctest.Test(t, func(t *testing.T) {
		p := load(t, nil, config)
		seconds(1)
		for round := range 60 {
			state := health.Admin(rand.IntN(3))
			wait := time.Duration(rand.IntN(2)*rand.IntN(120)) * time.Millisecond
			r.set(of("a:1", fmt.Sprint(round+1)), of("b:1", "x"))
			done := make(chan error)
			go func() {
				time.Sleep(wait)
				for {
					_, err := manager(t).Change("a:1", forAddress(admin(state)))
					if !errors.Is(err, membership.ErrUnknown) {
						done <- err
						return
					}
				}
			}()
			if round%10 == 5 {
				p = reload(t, p, config)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			seconds(0.3)
			if a := member(t, "a:1"); a.Instance != fmt.Sprint(round+1) || a.AdminState() != state {
				t.Fatalf("round %d: instance %s is %v, want %v", round, a.Instance, a.AdminState(), state)
			}
		}
	})
	lbtest.NoLeaks(t)
}

// In a fleet, a change for an address applies on all instances: also on those that join later, that get the backend
// later, and that restart after the store has lost its records.
func TestFleetForAddress(t *testing.T) {
	newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := nodes(t, m, 2, dials("a:1"))
		a, b := all[0], all[1]
		b.end()
		b.persist = true
		b.start(dials("a:1"))
		seconds(5)
		register := func(n *node, instance string) {
			n.add(membership.Addition{Address: "c:1", Registered: true, Settings: backend.Settings{Instance: instance}})
			soon()
		}
		leave := func(n *node) { n.remove("c:1", true); soon() }
		expect := func(what string, state health.Admin, fields ...string) {
			t.Helper()
			sameState(t, all)
			for _, n := range all {
				if got := n.find("c:1"); got == nil || got.AdminState() != state || !slices.Equal(n.manager().ForAddress("c:1"), fields) {
					t.Errorf("%s: %s has\n%s\nand %q for the address", what, n.name, n.state(), n.manager().ForAddress("c:1"))
				}
			}
		}
		register(a, "1")
		a.alter("c:1", forAddress(admin(health.Drain)))
		a.alter("c:1", forAddress(membership.Change{Weight: to(5)}))
		soon()
		expect("first", health.Drain, "state", "weight")
		leave(a)
		register(b, "2")
		expect("next instance", health.Drain, "state", "weight")
		seconds(2)
		if v := a.manager().FleetDrain(a.find("c:1")); !v.Safe {
			t.Errorf("the next instance is not drained: %+v", v)
		}
		late := newNode(t, m, "z", answering("a:1", "b:1", "c:1", "d:1"))
		late.start(dials("a:1"))
		all = append(all, late)
		seconds(5)
		expect("an instance has joined", health.Drain, "state", "weight")
		leave(late)
		register(late, "3")
		late.alter("c:1", admin(health.Ready))
		soon()
		expect("ready for the instance", health.Ready, "weight")
		leave(late)
		register(a, "4")
		expect("the instance after that", health.Ready, "weight")
		b.alter("c:1", forAddress(admin(health.Maint)))
		soon()

		a.end()
		late.end()
		b.end()
		m.Lose()
		all = []*node{b, a}
		b.start(dials("a:1"))
		seconds(5)
		a.start(dials("a:1"))
		seconds(5)
		expect("restored", health.Maint, "state", "weight")
		leave(a)
		register(a, "5")
		expect("an instance after the restart", health.Maint, "state", "weight")
		b.remove("c:1", false)
		soon()
		register(a, "6")
		expect("removed by an operator", health.Ready)
	})
	lbtest.NoLeaks(t)
}
