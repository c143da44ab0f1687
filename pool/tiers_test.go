// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
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
