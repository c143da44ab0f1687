// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// farm is backends of which each works at so many requests at a time, in the order of their arrival.
// A request that is cancelled is not worked at any longer.
type farm struct {
	backends, workers int
	work              func(*rand.Rand) time.Duration // of a request
	rate              func(time.Duration) float64    // requests a second, by the time
	warmUp, length    time.Duration                  // latencies count after warmUp
	fails             int                            // each so many answers one is a 503; 0 for none

	mu        sync.Mutex
	random    *rand.Rand
	attempts  int
	latencies []time.Duration // of the answers
	answered  []int           // by second
}

func (f *farm) answerers() (all lbtest.Backends, addresses []string) {
	all = make(lbtest.Backends)
	for i := range f.backends {
		free := make(chan struct{}, f.workers)
		address := fmt.Sprintf("b%d:80", i)
		addresses = append(addresses, address)
		all[address] = func(req *http.Request) (int, error) {
			f.mu.Lock()
			f.attempts++
			work, fails := f.work(f.random), f.fails > 0 && f.attempts%f.fails == 0
			f.mu.Unlock()
			select {
			case free <- struct{}{}:
			case <-req.Context().Done():
				return 0, req.Context().Err()
			}
			defer func() { <-free }()
			lbtest.Wait(req.Context(), work)
			if fails {
				return http.StatusServiceUnavailable, nil
			}
			return http.StatusOK, nil
		}
	}
	return all, addresses
}

// run sends requests as independent clients do, who leave after a second.
func (f *farm) run(t *testing.T, policy, pool string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f.random = rand.New(rand.NewPCG(1, 2))
		f.attempts, f.latencies, f.answered = 0, nil, make([]int, f.length/time.Second+2)
		backends, addresses := f.answerers()
		p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"`+policy+`"}},
			"dynamic_upstreams":{"source":"pool",`+dials(addresses...)+pool+`}}`, backends)
		if err != nil {
			t.Fatal(err)
		}
		arrivals := rand.New(rand.NewPCG(3, 4))
		began := time.Now()
		var wg sync.WaitGroup
		for now := time.Duration(0); now < f.length; now = time.Since(began) {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				start := time.Now()
				r := p.Serve(newRequest().WithContext(ctx))
				f.mu.Lock()
				defer f.mu.Unlock()
				if r.Err == nil && r.Status == http.StatusOK {
					if start.Sub(began) >= f.warmUp {
						f.latencies = append(f.latencies, time.Since(start))
					}
					f.answered[time.Since(began)/time.Second]++
				}
			})
			time.Sleep(time.Duration(arrivals.ExpFloat64() / f.rate(now) * float64(time.Second)))
		}
		wg.Wait()
	})
	slices.Sort(f.latencies)
}

func (f *farm) quantile(q float64) time.Duration {
	return f.latencies[int(q*float64(len(f.latencies)-1))]
}

// 16 backends, of whose answers 1 % take ten times as long, at 70 % of the capacity. Second attempts
// are at most 2 % of the requests. If answers take 20 ms or 200 ms, nothing is known to be late
// before 20 ms, and a second answer takes 20 ms more: p99.9 cannot be below 40 ms, a fifth. The
// delay is known to 12.5 %, and some requests wait for another: a quarter is the bound. If the slow
// answers take ten times as long on average (exponential), p99.9 is that of their slowest tenth,
// 200 ms x ln 10, and falls to less than a fifth.
func TestSimulationHedge(t *testing.T) {
	lbtest.Simulation(t)
	for name, tt := range map[string]struct {
		slow  func(*rand.Rand) time.Duration
		least float64 // factor between the quantiles
	}{
		"constant":    {func(*rand.Rand) time.Duration { return 200 * ms }, 4},
		"exponential": {func(random *rand.Rand) time.Duration { return time.Duration(random.ExpFloat64() * float64(200*ms)) }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			f := &farm{backends: 16, workers: 4, warmUp: 8 * time.Second, length: 20 * time.Second}
			f.work = func(random *rand.Rand) time.Duration {
				if random.Float64() < 0.01 {
					return tt.slow(random)
				}
				return 20 * ms
			}
			capacity := float64(f.backends*f.workers) / 0.0218
			f.rate = func(time.Duration) float64 { return 0.7 * capacity }
			f.run(t, "least_request", "")
			alone, requests := f.quantile(0.999), f.attempts
			f.run(t, "least_request", `,"hedge":{"quantile":0.95}`)
			hedged := f.quantile(0.999)
			t.Logf("p99.9 %v, with hedge %v; %d requests, %d second attempts", alone, hedged, requests, f.attempts-requests)
			if factor := float64(alone) / float64(hedged); factor < tt.least {
				t.Errorf("p99.9 falls from %v to %v, by a factor of %.1f, want %v", alone, hedged, factor, tt.least)
			}
			if extra := f.attempts - requests; float64(extra) > 0.02*float64(requests) {
				t.Errorf("%d second attempts for %d requests", extra, requests)
			}
		})
	}
}

// While an overload comes and goes, retries and second attempts cost no goodput where the backends have
// a limit, and do not keep the overload alive: in any 5 s there are at least 99 % of the answers
// that there are without them, and from 10 s after the overload on as many as requests, but for 2 %
// by chance. One answer in twenty is a 503, one in a hundred takes ten times as long. Without a
// limit, each attempt takes capacity from another request: the goodput is lower by the share of
// retries, 5 %, and what chance adds.
func TestSimulationFurtherAttemptsUnderOverload(t *testing.T) {
	lbtest.Simulation(t)
	for name, tt := range map[string]struct {
		limits string
		least  float64
	}{
		"max_requests": {`,"max_requests":2,"queue":{"size":40,"timeout":"500ms"}`, 0.99},
		"no limit":     {``, 0.92},
	} {
		t.Run(name, func(t *testing.T) {
			const third, window = 20 * time.Second, 5
			f := &farm{backends: 4, workers: 2, length: 3 * third, fails: 20}
			f.work = func(*rand.Rand) time.Duration {
				if f.attempts%100 == 50 {
					return 100 * ms
				}
				return 10 * ms
			}
			capacity := float64(f.backends*f.workers) / 0.0109
			f.rate = func(now time.Duration) float64 {
				if now >= third && now < 2*third {
					return 1.5 * capacity
				}
				return 0.9 * capacity
			}
			f.run(t, "p2c", tt.limits)
			alone := f.answered
			f.run(t, "p2c", tt.limits+`,"retry":{"tries":2,"on":["connect","reset","503"]},"retry_budget":{"ratio":0.2},"hedge":{"quantile":0.95}`)
			for s := 0; s+window <= 60; s += window {
				without, with := sum(alone[s:s+window]), sum(f.answered[s:s+window])
				if float64(with) < tt.least*float64(without) {
					t.Errorf("from %d s on there are %d answers, and %d without further attempts", s, with, without)
				}
			}
			if with, offered := sum(f.answered[50:60]), 10*0.9*capacity; float64(with) < 0.98*offered {
				t.Errorf("from 10 s after the overload on there are %d answers, of %.0f requests", with, offered)
			}
		})
	}
}

func sum(all []int) (n int) {
	for _, k := range all {
		n += k
	}
	return n
}
