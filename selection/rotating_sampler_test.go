// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// In any round each backend is drawn once as the k-th sample of a pick, for each k, and never twice
// in one pick, also with several goroutines.
func TestSamplerDrawsEachBackendOnceARound(t *testing.T) {
	for _, of := range []struct{ backends, size int }{{1, 1}, {2, 2}, {3, 2}, {3, 3}, {5, 5}, {7, 5}, {10, 2}, {100, 100}, {101, 5}, {1000, 3}} {
		d := newRotatingSampler(of.backends, of.size)
		for d.counter.Load()%d.backends != d.backends-1 { // the next pick begins a round
			d.next()
		}
		count := make([][]int, of.size)
		for k := range count {
			count[k] = make([]int, of.backends)
		}
		const rounds, goroutines = 6, 3
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range goroutines {
			wg.Go(func() {
				for range rounds / goroutines * of.backends {
					h, seen := d.next(), make(map[int]bool)
					mu.Lock()
					for k := range of.size {
						i := d.at(h, k)
						count[k][i]++
						if seen[i] {
							t.Errorf("%+v: %d twice in a pick", of, i)
						}
						seen[i] = true
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for k := range count {
			for i, n := range count[k] {
				if n != rounds {
					t.Fatalf("%+v: %d was sample %d of a pick %d times in %d rounds", of, i, k+1, n, rounds)
				}
			}
		}
	}
}

// Any two backends are in one pick as often as with random draws. The distances between the d
// samples of a pick are drawn once a round, so that over r rounds each of the n-1 distances occurs
// r(d-1)/(n-1) times, within 5 standard deviations of the binomial distribution; or approximately,
// where d-1 does not divide n-1.
func TestSamplerComparesAnyTwo(t *testing.T) {
	const rounds = 4000
	for _, of := range []struct{ backends, size int }{{3, 2}, {10, 2}, {13, 5}, {41, 5}} {
		t.Run(fmt.Sprintf("%+v", of), func(t *testing.T) {
			d := newRotatingSampler(of.backends, of.size)
			count := make([]float64, of.backends)
			for range rounds {
				var h sample
				for range of.backends {
					h = d.next()
				}
				for k := 1; k < of.size; k++ {
					count[(d.at(h, k)-d.at(h, 0)+of.backends)%of.backends]++
				}
			}
			p := float64(of.size-1) / float64(of.backends-1)
			for distance, n := range count[1:] {
				if sigma := math.Sqrt(rounds * p * (1 - p)); math.Abs(n-rounds*p) > 5*sigma+1e-6 {
					t.Errorf("at a distance of %d: %v times, want %v within %v", distance+1, n, rounds*p, 5*sigma)
				}
			}
		})
	}
}

// Samples are not checked. If the best one is not usable, the pick draws usable ones.
func TestPickWithUnusableSamples(t *testing.T) {
	for _, name := range lbtest.Policies() {
		pool, _ := testPool(1, 1, 1, 1)
		members := pool.View().Members.All
		for _, b := range members[1:] {
			b.SetAdmin(health.Maint) // without a new view, so that it is still sampled
		}
		sel := inPool(t, policies(t)[name], "", pool)
		for range 100 {
			if u := sel.Select(nil, request(), nil); u == nil || u.Dial != members[0].Address {
				t.Fatalf("%s: selected %v", name, u)
			}
		}
	}
}
