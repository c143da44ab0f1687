// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/event"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// What is changed on one instance holds on all, and the events say who asked for it, and on which instance.
func TestFleetSharesChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := nodes(t, fleettest.NewMemory(), 3, dials("a:1", "b:1"))
		a, b, c := all[0], all[1], all[2]
		events := event.Subscribe()
		defer events.Close()
		three := 3
		a.add(membership.Addition{Address: "c:1", Settings: backend.Settings{ID: "see", Weight: &three, Zone: "eu"}, Who: "alice"})
		drain := admin(health.Drain)
		drain.Who = "bob"
		b.alter("a:1", drain)
		c.alter("b:1", membership.Change{Weight: to(7), MaxRequests: to(9)})
		soon()
		sameState(t, all)
		for _, n := range all {
			see := n.find("c:1")
			switch {
			case see == nil || see.ID != "see" || *see.Weight != 3 || see.Zone != "eu":
				t.Errorf("%s: %+v", n.name, see)
			case n.find("a:1").AdminState() != health.Drain || n.find("b:1").EffectiveWeight() != 7 || n.find("b:1").Limit() != 9:
				t.Errorf("%s has\n%s", n.name, n.state())
			}
		}
		seen := make(map[string]int)
		for len(events.Events) > 0 {
			e := <-events.Events
			if instance, _ := e.Data["instance"].(string); instance != "" {
				seen[fmt.Sprint(e.Name, " on ", e.Data["pool"], " by ", instance[:1], " ", e.Data["by"], " ", e.Data["who"], " ", e.Data["reason"])]++
			}
		}
		for _, want := range []string{
			"backend_added on web-%s by a operator alice ", "backend_changed on web-%s by b <nil> bob drain", "backend_changed on web-%s by c <nil> <nil> weight 7, max_requests 9",
		} {
			for _, n := range all {
				// Other instances may learn of the weight and the limit one after the other.
				if text := fmt.Sprintf(want, n.name); seen[text] != 1 && seen[fmt.Sprintf("backend_changed on web-%s by c <nil> <nil> weight 7", n.name)] == 0 {
					t.Errorf("%d events %q among %v", seen[text], text, seen)
				}
			}
		}
		c.remove("see", false)
		a.remove("a:1", false)
		a.alter("b:1", membership.Change{Weight: new(membership.Override), MaxRequests: new(membership.Override)})
		soon()
		sameState(t, all)
		for _, n := range all {
			if n.find("c:1") != nil || n.find("a:1") != nil || n.find("b:1").EffectiveWeight() != 1 || n.find("b:1").Limited() {
				t.Errorf("%s has\n%s", n.name, n.state())
			}
		}
		b.add(membership.Addition{Address: "a:1"}) // again, and without the drain
		soon()
		sameState(t, all)
		if a.find("a:1") == nil || a.find("a:1").AdminState() != health.Ready {
			t.Errorf("a has\n%s", a.state())
		}
	})
	lbtest.NoLeaks(t)
}

// An instance that joins, by a start or a reload, gets everything before long; one that has a backend
// only later applies what was changed of it before.
func TestFleetJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := nodes(t, m, 2, dials("a:1", "b:1"))
		all[0].add(membership.Addition{Address: "c:1"})
		all[0].alter("b:1", admin(health.Maint))
		all[0].remove("a:1", false)
		soon()
		late := newNode(t, m, "z", answering("a:1", "b:1", "c:1"))
		late.start(dials("a:1", "b:1"))
		seconds(1)
		sameState(t, append(all, late))
		other := newNode(t, m, "y", answering("a:1", "b:1", "c:1")) // without a:1 and b:1, until a reload
		other.start(dials("d:1"))
		seconds(1)
		if other.find("c:1") == nil || other.find("a:1") != nil || other.find("b:1") != nil {
			t.Fatalf("y has\n%s", other.state())
		}
		other.start(dials("a:1", "b:1"))
		seconds(1)
		sameState(t, append(all, late, other))
	})
	lbtest.NoLeaks(t)
}

// A registration that any instance renews lives on all, and expires on all; an older addition of the
// address, from an instance that was away, does not return.
func TestFleetRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := nodes(t, fleettest.NewMemory(), 3, dials("a:1"))
		registration := membership.Addition{Address: "c:1", TTL: 10 * time.Second, Registered: true}
		all[2].add(membership.Addition{Address: "c:1"}) // an old addition
		soon()
		all[2].link.Fail(errors.New("cut off"))
		all[0].remove("c:1", false)
		soon()
		for i := range 6 {
			all[i%2].add(registration)
			seconds(5)
			if all[0].find("c:1") == nil || all[1].find("c:1") == nil {
				t.Fatalf("expired although renewed, after %d renewals", i+1)
			}
		}
		seconds(10.5)
		for _, n := range all[:2] {
			if n.find("c:1") != nil {
				t.Errorf("%s still has the registration", n.name)
			}
		}
		all[2].link.Fail(nil)
		seconds(10)
		sameState(t, all)
		if all[0].find("c:1") != nil {
			t.Errorf("an old addition has returned:\n%s", all[0].state())
		}
		// With the token of an instance that has never seen the registration.
		all[1].add(registration)
		soon()
		all[2].remove("c:1", true)
		soon()
		sameState(t, all)
		if all[0].find("c:1") != nil {
			t.Error("deregistered on one, and still there on another")
		}
	})
	lbtest.NoLeaks(t)
}

// A registration ends in time although the store took long to take it: the copy that comes back from the
// store has the time to live that was left when it was sent.
func TestFleetRegistrationOfSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := nodes(t, m, 2, dials("a:1"))
		m.Lose() // so that the instance reads all records again
		m.Stall(true)
		all[0].add(membership.Addition{Address: "c:1", TTL: 2 * time.Second, Registered: true})
		time.Sleep(800 * time.Millisecond) // less than the timeout of a push
		m.Stall(false)
		time.Sleep(1150 * time.Millisecond)
		synctest.Wait()
		for _, n := range all {
			if n.find("c:1") == nil {
				t.Errorf("%s: the registration ended too early", n.name)
			}
		}
		time.Sleep(250 * time.Millisecond) // an expiry is looked for each 100 ms, and then published
		synctest.Wait()
		for _, n := range all {
			if n.find("c:1") != nil {
				t.Errorf("%s: the registration has not ended", n.name)
			}
		}
	})
	lbtest.NoLeaks(t)
}

// Whatever the order in which changes arrive, all instances have the same state in the end, and it is
// that of the latest changes.
func TestFleetConverges(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { converge(t, rand.New(rand.NewPCG(seed, 1))) })
			lbtest.NoLeaks(t)
		})
	}
}

func converge(t *testing.T, r *rand.Rand) {
	m := fleettest.NewMemory()
	all := nodes(t, m, 4, dials("a:1", "b:1"))
	addresses := []string{"a:1", "b:1", "c:1", "d:1"}
	for range 120 {
		n, address := all[r.IntN(len(all))], addresses[r.IntN(len(addresses))]
		m := n.manager()
		switch r.IntN(12) {
		case 0, 1:
			weight := 1 + r.IntN(9)
			_, _ = m.Add(membership.Addition{Address: address, Settings: backend.Settings{Weight: &weight}})
		case 2:
			_, _ = m.Add(membership.Addition{Address: address, Registered: true, TTL: time.Duration(1+r.IntN(20)) * time.Second})
		case 3:
			_, _ = m.Remove(address, membership.Removal{})
		case 4:
			_, _ = m.Remove(address, membership.Removal{Registered: true})
		case 5, 6:
			_, _ = m.Change(address, admin(health.Admin(r.IntN(3))))
		case 7:
			_, _ = m.Change(address, membership.Change{Weight: to(r.IntN(9))})
		case 8:
			_, _ = m.Change(address, membership.Change{MaxRequests: new(membership.Override), Weight: new(membership.Override)})
		case 9:
			_, _ = m.Change(address, membership.Change{MaxRequests: to(r.IntN(9))})
		case 10:
			disturb(n, r)
		case 11:
			time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		}
		if r.IntN(2) == 0 {
			time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
		}
	}
	for _, n := range all {
		n.link.Fail(nil)
		n.link.Delay(nil)
	}
	seconds(60) // more than a registration lives
	sameState(t, all)
	// What comes last counts, wherever.
	for _, address := range addresses {
		n := all[r.IntN(len(all))]
		if n.find(address) != nil {
			n.alter(address, admin(health.Drain))
		}
	}
	seconds(2)
	sameState(t, all)
	for _, b := range all[0].pool().View().Members.All {
		if b.AdminState() != health.Drain {
			t.Errorf("%s is %s", b.Address, b.AdminState())
		}
	}
}

// disturb makes a fault, or ends it: the link is cut or slow, or the process is restarted.
func disturb(n *node, r *rand.Rand) {
	switch r.IntN(5) {
	case 0:
		n.link.Fail(errors.New("cut off"))
	case 1, 2:
		n.link.Fail(nil)
		n.link.Delay(nil)
	case 3:
		d := time.Duration(r.IntN(400)) * time.Millisecond
		n.link.Delay(func() time.Duration { return d })
	case 4:
		n.link.Fail(nil)
		n.link.Delay(nil)
		seconds(1.5) // its changes are pushed
		n.end()
		time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
		n.start(dials("a:1", "b:1"))
	}
}

// An instance that restarts pushes the changes of a backend that its source has not found yet, too: the
// store did not work when they were made.
func TestFleetRestoresBeforeDiscovery(t *testing.T) {
	newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.set(of("c:1", "1"))
		m := fleettest.NewMemory()
		a := newNode(t, m, "a", answering("a:1", "c:1"))
		a.persist = true
		b := newNode(t, m, "b", a.backends)
		discovering := `"backends":[{"dial":"a:1"}],` + pushing(t, "")
		a.start(discovering)
		b.start(`"backends":[{"dial":"a:1"}]`)
		seconds(5)
		m.Fail(errors.New("away"))
		a.alter("c:1", admin(health.Maint))
		a.alter("c:1", membership.Change{Weight: to(5)})
		a.end()
		failing := func(err error) { r.mu.Lock(); defer r.mu.Unlock(); r.failing = err }
		failing(errors.New("away"))
		a.start(discovering)
		seconds(1)
		failing(nil)
		m.Fail(nil)
		seconds(60) // more than the source is tried after
		b.start(discovering)
		seconds(5)
		sameState(t, []*node{a, b})
		if c := b.find("c:1"); c.AdminState() != health.Maint || c.OperatorWeight() == nil {
			t.Errorf("the other instance has\n%s", b.state())
		}
		a.alter("c:1", admin(health.Ready)) // later than what was restored
		soon()
		sameState(t, []*node{a, b})
		a.end()
		b.end()
	})
	lbtest.NoLeaks(t)
}

// What an instance has restored is older than anything of the fleet, and is what the fleet has if it
// has nothing else.
func TestFleetRestores(t *testing.T) {
	newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a := newNode(t, m, "a", answering("a:1", "b:1", "c:1", "d:1"))
		a.persist = true
		b := newNode(t, m, "b", a.backends)
		pool := dials("a:1", "b:1")
		a.start(pool)
		b.start(pool)
		seconds(5)
		a.alter("a:1", admin(health.Drain))
		a.add(membership.Addition{Address: "c:1"})
		a.alter("b:1", membership.Change{Weight: to(5)})
		soon()
		a.end()
		b.alter("a:1", admin(health.Ready))
		b.remove("c:1", false)
		b.alter("b:1", membership.Change{Weight: new(membership.Override)})
		want := b.state()
		seconds(5)
		a.start(pool)
		seconds(5)
		sameState(t, []*node{a, b})
		if b.state() != want {
			t.Errorf("what was restored has changed\n%s\nto\n%s", want, b.state())
		}
		a.alter("a:1", admin(health.Maint))
		a.add(membership.Addition{Address: "d:1"})
		soon()
		b.end()
		a.end()
		m.Lose()
		a.start(pool)
		seconds(5)
		b.start(pool)
		seconds(5)
		sameState(t, []*node{a, b})
		if b.find("d:1") == nil || b.find("a:1").AdminState() != health.Maint {
			t.Errorf("b has\n%s", b.state())
		}
	})
	lbtest.NoLeaks(t)
}

// A record that no instance would have made is dropped, with one log line, and changes nothing.
func TestFleetInvalidRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		n := nodes(t, m, 1, dials("a:1"))[0]
		before := n.state()
		conn, _ := m.Open()
		for i, value := range []string{`{"state":"gone"}`, `{"weight":-1}`, `[]`, `{"state":"drain","state":"ready"}`, `{"added":{"weight":-5}}`, `{"unknown":1}`, `{"for_address":true,"of":"1"}`, "\xff"} {
			for _, key := range []string{"m|b:1", "a|a:1", "w|a:1", "x|a:1", "a|", "a:1"} {
				r := fleet.Record{Topic: "pools/web", Key: key, Version: uint64(i + 1), Value: []byte(value), TTL: time.Hour}
				if err := conn.Push(context.Background(), "stranger", []fleet.Record{r}); err != nil {
					t.Fatal(err)
				}
			}
		}
		seconds(2)
		if got := n.state(); got != before {
			t.Errorf("invalid records have changed\n%s\nto\n%s", before, got)
		}
		logged := 0
		for _, line := range n.Logged("topic") {
			if line == "a record of another instance is invalid and ignored pools/web-a" {
				logged++
			}
		}
		if logged != 1 {
			t.Errorf("%d log lines, want 1", logged)
		}
	})
	lbtest.NoLeaks(t)
}

// A backend is safe to remove when it is on all living instances, and not before.
func TestFleetDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := nodes(t, m, 3, dials("a:1", "b:1"))
		all[2].backends["b:1"] = lbtest.Latency(20 * time.Second)
		busy := make(chan struct{})
		all[2].alter("a:1", admin(health.Drain)) // so that b:1 gets the request
		go func() {
			defer close(busy)
			_, _ = all[2].Get()
		}()
		synctest.Wait()
		all[0].alter("a:1", admin(health.Ready))
		soon()
		verdict := func() *membership.FleetDrain { return all[0].manager().FleetDrain(all[0].find("b:1")) }
		all[0].alter("b:1", admin(health.Drain))
		for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			synctest.Wait()
			used, v := all[2].find("b:1").InUse(), verdict()
			if v.Instances != 3 {
				t.Fatalf("%d instances", v.Instances)
			}
			if v.Safe && used {
				t.Fatalf("safe after %v although another instance has a request", time.Since(began))
			}
			if v.Safe {
				break
			}
			if time.Since(began) > 22*time.Second {
				t.Fatalf("not safe: %+v", v)
			}
		}
		<-busy
		// What the others have said of this drain says nothing of the next one.
		all[0].alter("b:1", admin(health.Ready))
		all[0].alter("b:1", admin(health.Drain))
		if verdict().Safe {
			t.Error("safe before the others can have heard of the second drain")
		}
		seconds(2)
		if v := verdict(); !v.Safe {
			t.Errorf("%+v", v)
		}
		// An instance that says nothing is not safe, until it lives no more.
		all[1].link.Fail(errors.New("cut off"))
		all[0].alter("b:1", admin(health.Maint))
		seconds(1)
		if v := verdict(); v.Safe || len(v.Waiting) != 1 {
			t.Errorf("%+v although one instance is silent", v)
		}
		seconds(5)
		if v := verdict(); !v.Safe || v.Instances != 2 {
			t.Errorf("%+v after the silent one is dead", v)
		}
	})
	lbtest.NoLeaks(t)
}

// An instance that sees most backends down while the others do not says so, and when that is over.
func TestFleetIsolated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		var all []*node
		for i := range 3 {
			n := newNode(t, m, string(rune('a'+i)), answering("a:1", "b:1", "c:1"))
			worlds.Store(t.Name()+n.name, &world{sick: make(map[string]bool), probes: make(map[string]int), schemes: make(map[string]string)})
			n.start(dials("a:1", "b:1", "c:1") + fmt.Sprintf(`,"guard":false,"health":[{"check":"fake","world":%q,"interval":"1s","fails":1,"passes":1,"jitter":0}]`, t.Name()+n.name))
			all = append(all, n)
		}
		seconds(5)
		sick := func(n *node, address string, is bool) {
			v, _ := worlds.Load(t.Name() + n.name)
			w := v.(*world)
			w.set(func() { w.sick[address] = is })
		}
		expect := func(want ...bool) {
			t.Helper()
			for i, n := range all {
				if got := n.manager().Isolated(); got != want[i] {
					t.Errorf("%s is isolated: %v, want %v", n.name, got, want[i])
				}
			}
		}
		events := event.Subscribe()
		defer events.Close()
		for _, n := range all { // a backend dies: nobody is isolated
			sick(n, "a:1", true)
		}
		seconds(12)
		expect(false, false, false)
		sick(all[0], "b:1", true) // and one instance alone loses another
		seconds(12)
		expect(true, false, false)
		for _, n := range all[1:] { // which is dead in fact
			sick(n, "b:1", true)
		}
		seconds(12)
		expect(false, false, false)
		var seen []string
		for len(events.Events) > 0 {
			if e := <-events.Events; e.Name == "fleet_isolated" || e.Name == "fleet_rejoined" {
				seen = append(seen, fmt.Sprint(e.Name, " ", e.Data["pool"], ": ", e.Data["reason"]))
			}
		}
		want := "[fleet_isolated web-a: 2 of 3 backends are down or ejected here; 2 of 2 other instances see less than half of theirs so fleet_rejoined web-a: 2 of 3 backends are down or ejected here]"
		if fmt.Sprint(seen) != want {
			t.Errorf("events %v, want %s", seen, want)
		}
		if hints := all[1].manager().Hints(); len(hints) != 3 || hints[0].Members != 3 || hints[0].Down != 2 {
			t.Errorf("hints %+v", hints)
		}
	})
	lbtest.NoLeaks(t)
}

// A full pool of an instance without a share refuses requests, or lets them wait.
func TestFleetWithoutShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := nodes(t, fleettest.NewMemory(), 3, `"backends":[{"dial":"a:1","max_requests":1,"max_requests_fleet":true}]`)
		shares := 0
		for _, n := range all {
			b := n.find("a:1")
			limit, share, ok := b.FleetLimit()
			if shares += share; !ok || limit != 1 || b.Limit() != share || !b.Limited() {
				t.Errorf("%s: limit %d, share %d, %v", n.name, limit, share, ok)
			}
			if share == 0 {
				expectNone(t, n.Proxy, pool.ReasonFull)
			} else if _, err := n.Get(); err != nil {
				t.Errorf("%s: %v", n.name, err)
			}
		}
		if shares != 1 {
			t.Errorf("the shares add up to %d", shares)
		}
	})
	lbtest.NoLeaks(t)
}
