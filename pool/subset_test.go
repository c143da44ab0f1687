// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// numbered returns n addresses.
func numbered(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("b%02d:1", i))
	}
	return all
}

// used returns the addresses of the backends that the pool uses and those that it does not.
func used() (in, out []string) { return usedBy("web") }

func usedBy(name string) (in, out []string) {
	for _, b := range report.OfPool(pool.Current(name)).Backends {
		if b.Unused {
			out = append(out, b.Address)
		} else {
			in = append(in, b.Address)
		}
	}
	slices.Sort(in)
	slices.Sort(out)
	return in, out
}

// Only the subset is probed and serves. The others are shown, and keep what an operator has changed.
func TestSubset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := numbered(12)
		p, err := lbtest.Load(t, nil, proxy("wrr", `"name":"web","guard":false,`+dials(all...)+`,"subset":5,`+check(t, "")), answering(all...))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		in, out := used()
		if len(in) != 5 || len(out) != 7 {
			t.Fatalf("in use: %v, not: %v", in, out)
		}
		expectServed(t, p, in...)
		w.set(func() {
			if got := slices.Sorted(maps.Keys(w.probes)); !slices.Equal(got, in) {
				t.Errorf("%v are probed, %v are in use", got, in)
			}
		})
		for _, b := range report.OfPool(pool.Current("web")).Backends {
			if b.Unused != strings.Contains(b.Reason, "subset") {
				t.Errorf("%s: unused %v, reason %q", b.Address, b.Unused, b.Reason)
			}
		}
		drain := health.Drain
		if _, err := pool.Current("web").Manager().Change(out[0], membership.Change{Admin: &drain}); err != nil {
			t.Fatal(err)
		}
		// None of the subset is healthy: another is better than none.
		w.set(func() {
			for _, a := range in {
				w.sick[a] = true
			}
		})
		time.Sleep(3 * time.Second)
		expectServed(t, p, out[1:]...)
		w.set(func() { clear(w.sick) })
		time.Sleep(5 * time.Second)
		expectServed(t, p, in...)
	})
}

// Each tier has a subset of its own, and what a source finds or loses changes it little.
func TestSubsetOfTiersAndOfWhatIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = numbered(20)[4:]
		source := fmt.Sprintf(`"sources":[{"source":"fake","world":%q}],"refresh":"1s"`, t.Name())
		p, err := lbtest.Load(t, nil, proxy("wrr", `"name":"web","subset":3,`+tiered(nil, numbered(4))+","+source), answering(numbered(20)...))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		in, _ := used()
		if len(in) != 6 {
			t.Fatalf("in use: %v", in)
		}
		tier0 := slices.DeleteFunc(slices.Clone(in), func(a string) bool { return slices.Contains(numbered(4), a) })
		expectServed(t, p, tier0...)
		for _, lost := range []string{tier0[0], w.found[0]} {
			w.set(func() { w.found = slices.DeleteFunc(slices.Clone(w.found), func(a string) bool { return a == lost }) })
			time.Sleep(2 * time.Second)
			next, _ := used()
			changed := 0
			for _, a := range next {
				if !slices.Contains(in, a) {
					changed++
				}
			}
			if len(next) != 6 || changed > 1 || slices.Contains(next, lost) {
				t.Errorf("without %s: %v, before: %v", lost, next, in)
			}
			in = next
		}
	})
}

// In a fleet, each backend is used by the same number of instances, to within one, also after one
// has joined or left; then each of the others has changed at most backends / instances, rounded up.
func TestSubsetInAFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		all := numbered(12)
		live := make(map[string]*lbtest.Proxy)
		join := func(id string) {
			live[id] = load(t, inFleet(t, id, ""), proxy("wrr", fmt.Sprintf(`"name":%q,`, "web-"+id)+dials(all...)+`,"subset":5,`+check(t, "")))
		}
		subsets := func() map[string][]string {
			users, now := make(map[string]int), make(map[string][]string)
			for id := range live {
				in, _ := usedBy("web-" + id)
				now[id] = in
				for _, a := range in {
					users[a]++
				}
				if len(in) != 5 {
					t.Errorf("%s uses %v", id, in)
				}
			}
			least, most := len(live), 0
			for _, a := range all {
				least, most = min(least, users[a]), max(most, users[a])
			}
			if most-least > 1 {
				t.Errorf("%d instances: %v", len(live), users)
			}
			return now
		}
		for _, id := range []string{"b", "d", "f", "h", "j", "l"} {
			join(id)
		}
		time.Sleep(5 * time.Second)
		before := subsets()
		for _, change := range []func(){func() { join("e") }, func() { live["d"].Close(); delete(live, "d") }, func() { join("a") }, func() { join("z") }} {
			few := len(live)
			change()
			few = min(few, len(live))
			time.Sleep(5 * time.Second)
			now := subsets()
			for id, in := range now {
				if was := before[id]; was != nil {
					moved := slices.DeleteFunc(slices.Clone(in), func(a string) bool { return slices.Contains(was, a) })
					if most := (len(all) + few - 1) / few; len(moved) > most {
						t.Errorf("%s changed %v of %v, at most %d may", id, moved, was, most)
					}
				}
			}
			before = now
		}
	})
}
