// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package limitertest is the conformance suite of limiters of shed in other packages.
//
//	func TestConformance(t *testing.T) {
//		limitertest.Run(t, limitertest.Limiter{Caddyfile: "target {\n latency 50ms\n}"})
//	}
package limitertest

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/conformance"
	"github.com/ballast-lb/caddy-ballast/shedder"
)

// Limiter is a limiter under test. Its module must be registered.
type Limiter struct {
	// Caddyfile is the text after `algorithm` in shed: the name of the limiter, its arguments, and
	// a block with all of its options. Required.
	Caddyfile string
	// Latency is the latency of the simulated backends without a queue. A limiter with a target
	// latency among its options needs a Latency below the target. Default: 10ms.
	Latency time.Duration
}

const namespace = "ballast.limiters"

// Run tests the configuration of the limiter, that limits are valid for any window, that algorithms
// share no state, and that in front of simulated backends the limiter keeps them busy, bounds their
// queues, and recovers. Run it with the race detector.
func Run(t *testing.T, l Limiter) {
	if l.Latency == 0 {
		l.Latency = 10 * time.Millisecond
	}
	m := conformance.Module{Namespace: namespace, Caddyfile: l.Caddyfile}
	m.Run(t)
	mod, _ := m.Load(t, l.Caddyfile)
	limiter, ok := mod.(shedder.Limiter)
	if !ok {
		t.Fatalf("%T is no shedder.Limiter", mod)
	}
	leaks := conformance.Goroutines(t)
	t.Run("algorithms share no state", func(t *testing.T) { isolation(t, limiter) })
	t.Run("limits are valid", func(t *testing.T) { validLimits(t, limiter) })
	t.Run("overload", func(t *testing.T) { overload(t, limiter, l.Latency) })
	t.Run("recovery", func(t *testing.T) { recovery(t, limiter, l.Latency) })
	leaks(10 * time.Second)
}

// expectValid checks a limit.
func expectValid(t *testing.T, call string, limit float64) {
	t.Helper()
	if math.IsNaN(limit) || math.IsInf(limit, 0) || limit < 0 {
		t.Errorf("%s returns %v", call, limit)
	}
}

// validLimits calls an algorithm with arbitrary windows.
func validLimits(t *testing.T, l shedder.Limiter) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		a := l.NewAlgorithm()
		limit := a.Start()
		if expectValid(t, "Start", limit); limit < 1 {
			t.Errorf("Start returns %v; at least 1 request must be admitted", limit)
		}
		for range 500 {
			w := shedder.Window{Limit: max(1, math.Floor(limit)), Length: time.Duration(1 + rng.Int64N(int64(time.Second)))}
			w.InFlight = rng.IntN(2 * int(min(w.Limit, 1e6)))
			if rng.IntN(3) > 0 {
				w.Answers = 1 + rng.IntN(10_000)
				w.Latency = time.Duration(rng.Int64N(1 << (10 + rng.IntN(35))))
			}
			if rng.IntN(3) == 0 {
				w.Drops, w.Refused = rng.IntN(w.Answers+10), rng.IntN(100_000)
			}
			limit, _ = a.Next(w)
			expectValid(t, "Next", limit)
			limit = min(max(limit, 1), 1e6)
		}
	}
}

// isolation tests that the overload of one algorithm does not change the others, nor the start of a new
// one.
func isolation(t *testing.T, l shedder.Limiter) {
	start := l.NewAlgorithm().Start()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			a := l.NewAlgorithm()
			limit := a.Start()
			for range 500 {
				limit, _ = a.Next(shedder.Window{Limit: max(1, limit), Length: time.Second, Answers: 100, Latency: time.Minute, Drops: 100, Refused: 1000, InFlight: int(min(limit, 1e6))})
			}
		})
	}
	wg.Wait()
	if got := l.NewAlgorithm().Start(); got != start {
		t.Errorf("a new algorithm starts at %v after others have seen an overload, and before at %v", got, start)
	}
}

// backends simulates backends with a number of workers and a latency. They queue excess requests,
// and refuse those beyond eight times the number of workers.
type backends struct {
	workers float64
	latency time.Duration
}

// window returns the measurements under overload.
func (b backends) window(limit float64) shedder.Window {
	limit = math.Floor(min(max(limit, 1), 1e6))
	const length = 100 * time.Millisecond
	in := min(limit, 8*b.workers)
	w := shedder.Window{Limit: limit, Length: length, InFlight: int(limit), Refused: 1000}
	w.Latency = time.Duration(float64(b.latency) * max(1, in/b.workers))
	w.Answers = max(1, int(in*float64(length)/float64(w.Latency)))
	if limit > in {
		w.Drops = int(limit - in)
	}
	return w
}

// settle runs an algorithm for some windows, and returns the last limit and the mean of
// the latter half.
func (b backends) settle(a shedder.Algorithm, limit float64, windows int) (last, mean float64) {
	for n := range windows {
		limit, _ = a.Next(b.window(limit))
		limit = min(max(limit, 1), 1e6)
		if n >= windows/2 {
			mean += limit / float64(windows-windows/2)
		}
	}
	return limit, mean
}

// overload tests that the limit keeps 50 workers busy, and bounds the queue, when the offered load
// is far above the capacity.
func overload(t *testing.T, l shedder.Limiter, latency time.Duration) {
	b, a := backends{50, latency}, l.NewAlgorithm()
	_, mean := b.settle(a, a.Start(), 4000)
	// From half of the workers to the number at which the backends refuse.
	if mean < 25 || mean > 400 {
		t.Errorf("the limit is %.0f on average, want from 25, half of what keeps the backends busy, to 400, beyond which they refuse", mean)
	}
}

// recovery tests that the limit rises again after most workers were lost for a time.
func recovery(t *testing.T, l shedder.Limiter, latency time.Duration) {
	a := l.NewAlgorithm()
	limit, _ := backends{50, latency}.settle(a, a.Start(), 1000)
	limit, low := backends{2, 20 * latency}.settle(a, limit, 4000)
	_, high := backends{50, latency}.settle(a, limit, 4000)
	if high < 25 || high <= low {
		t.Errorf("the limit is %.1f on average while there are 2 slow workers, and %.1f when there are 50 again; want at least 25 then", low, high)
	}
}
