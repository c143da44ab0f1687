// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func newWRR() caddy.Module { return new(WRR) }

func picks(sel reverseproxy.Selector, list reverseproxy.UpstreamPool, n int) []string {
	got := make([]string, n)
	for i := range got {
		got[i] = sel.Select(list, request(), nil).Dial
	}
	return got
}

func counts(picks []string) map[string]int {
	count := make(map[string]int)
	for _, p := range picks {
		count[p]++
	}
	return count
}

func TestWRRIsExactOverAnyCycle(t *testing.T) {
	pool, _ := testPool(5, 1, 1)
	for name, sel := range map[string]reverseproxy.Selector{
		"pool": inPool(t, newWRR, "", pool),
		"list": provisioned(t, newWRR, "wrr {\n weights 5 1 1\n}"),
	} {
		t.Run(name, func(t *testing.T) {
			got := picks(sel, upstreams(3), 70)
			want := map[string]int{"u0": 5, "u1": 1, "u2": 1}
			for i := range len(got) - 7 {
				if count := counts(got[i : i+7]); !maps.Equal(count, want) {
					t.Fatalf("picks %d to %d are %v, want %v", i, i+6, count, want)
				}
			}
			for i := range len(got) - 5 {
				if len(slices.Compact(slices.Clone(got[i:i+5]))) == 1 {
					t.Fatalf("%s has 5 turns in a row: %v", got[i], got)
				}
			}
		})
	}
}

func TestWRRWithEqualWeightsIsRoundRobin(t *testing.T) {
	pool, _ := testPool(3, 3, 3)
	for _, sel := range []reverseproxy.Selector{inPool(t, newWRR, "", pool), provisioned(t, newWRR, "")} {
		got := picks(sel, upstreams(3), 30)
		for i := range got[3:] {
			if got[i+3] != got[i] || got[i+1] == got[i] {
				t.Fatalf("not in turn: %v", got)
			}
		}
	}
}

// One of three goes down: the other two keep their proportion exactly, in a pool with a new view,
// in a list because a skipped turn does not change the order of the others.
func TestWRRKeepsProportionsWhenOneIsDown(t *testing.T) {
	pool, statuses := testPool(4, 2, 1)
	inside := inPool(t, newWRR, "", pool)
	statuses[0].Observe(errDown, 1, 1)
	pool.Publish()
	list := provisioned(t, newWRR, "wrr {\n weights 4 2 1\n}")
	ups := upstreams(3)
	ups[0].MaxRequests, ups[0].Host = 1, busyHost(t)
	for name, got := range map[string][]string{"pool": picks(inside, nil, 30), "list": picks(list, ups, 30)} {
		for i := range len(got) - 3 {
			if count := counts(got[i : i+3]); count["u1"] != 2 || count["u2"] != 1 {
				t.Fatalf("%s: picks %d to %d are %v, want 2 of u1 and 1 of u2", name, i, i+2, count)
			}
		}
	}
}

// Eight goroutines together take 1,000 whole cycles: the shares are exact.
func TestWRRIsExactInParallel(t *testing.T) {
	pool, _ := testPool(5, 1, 1)
	sel := inPool(t, newWRR, "", pool)
	var mu sync.Mutex
	total := make(map[string]int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			count := counts(picks(sel, nil, 7*125))
			mu.Lock()
			defer mu.Unlock()
			for u, n := range count {
				total[u] += n
			}
		})
	}
	wg.Wait()
	if want := map[string]int{"u0": 5000, "u1": 1000, "u2": 1000}; !maps.Equal(total, want) {
		t.Errorf("got %v, want %v", total, want)
	}
}
