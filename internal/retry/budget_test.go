// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	weakrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// Whenever requests and retries come, at the moment of each retry there were in the
// last 10 s no more retries than the ratio of the requests in them and 10 times the
// minimum; and none is refused while that leaves room even for a window that is a
// step shorter for requests and longer for retries.
func TestBudgetIsKept(t *testing.T) {
	for seed := range uint64(60) {
		random := weakrand.New(weakrand.NewPCG(seed, 3))
		rules := Rules{Ratio: float64(random.IntN(6)) / 5, Min: random.IntN(4)}
		b, now := NewBudget(rules), clock.Now()
		var requests, retries []time.Duration
		within := func(all []time.Duration, window time.Duration) (n int) {
			for _, at := range all {
				if now-at < window {
					n++
				}
			}
			return n
		}
		mostGap := []time.Duration{time.Millisecond, 50 * time.Millisecond, time.Second, 30 * time.Second}[random.IntN(4)]
		for range 2000 {
			now += time.Duration(random.Int64N(int64(mostGap)))
			if random.IntN(3) == 0 {
				b.Request(now)
				requests = append(requests, now)
				continue
			}
			room := func(step time.Duration) bool {
				most := rules.Ratio*float64(within(requests, budgetWindow-step)) + float64(rules.Min)*10
				return float64(within(retries, budgetWindow+step)+1) <= most+1e-9
			}
			left := b.Left(now)
			switch ok := b.Retry(now); {
			case ok != left:
				t.Fatalf("seed %d: a retry is allowed: %v, though there was one left: %v", seed, ok, left)
			case ok && !room(0):
				t.Fatalf("seed %d: a retry is one too many", seed)
			case !ok && room(budgetStep):
				t.Fatalf("seed %d: a retry is refused, and would not have been one too many", seed)
			case ok:
				retries = append(retries, now)
			}
		}
	}
}

// Of many at the same time no more are allowed than may be.
func TestBudgetOfManyAtATime(t *testing.T) {
	b, now := NewBudget(Rules{Ratio: 0.2, Min: 1}), clock.Now()
	for range 1000 {
		b.Request(now)
	}
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if b.Retry(now) {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	for b.Retry(now) { // those that were refused because they were too many
		allowed.Add(1)
	}
	if n := allowed.Load(); n != 210 {
		t.Errorf("%d retries are allowed, want 20 %% of 1000 and 10", n)
	}
	if none := (*Budget)(nil); !none.Left(now) || !none.Retry(now) {
		t.Error("without a budget a retry is refused")
	}
}
