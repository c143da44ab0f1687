// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// busyHost returns a host with one request in flight until the test ends: only Caddy itself can
// change the counter of a Host.
func busyHost(t *testing.T) *reverseproxy.Host {
	release, entered := make(chan struct{}), make(chan struct{})
	p := lbtest.NewProxy(t, `{"transport":{"protocol":"lbtest"},"upstreams":[{"dial":"busy:1"}]}`,
		lbtest.Backends{"busy:1": func(*http.Request) (int, error) {
			close(entered)
			<-release
			return http.StatusOK, nil
		}})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.Get() })
	<-entered
	t.Cleanup(func() { close(release); wg.Wait() })
	return p.Upstreams[0].Host
}

func TestWeightedRandomWithin5Sigma(t *testing.T) {
	newPolicy := func() caddy.Module { return new(WeightedRandom) }
	pool, _ := testPool(5, 1, 1)
	ups := upstreams(4)
	ups[3].MaxRequests, ups[3].Host = 1, busyHost(t) // has a weight, but is full
	for name, got := range map[string][]string{
		"pool": picks(inPool(t, newPolicy, "", pool), nil, 20_000),
		"list": picks(provisioned(t, newPolicy, "weighted_random {\n weights 5 1 1 9\n}"), ups, 20_000),
	} {
		for u, n := range map[string]float64{"u0": 5, "u1": 1, "u2": 1} {
			p := n / 7
			// 5 standard deviations of the binomial distribution.
			if dev := math.Abs(float64(counts(got)[u]) - 20_000*p); dev > 5*math.Sqrt(20_000*p*(1-p)) {
				t.Errorf("%s: %s got %d of 20000, off by %v", name, u, counts(got)[u], dev)
			}
		}
	}
}

func TestTheBusierIsNeverChosen(t *testing.T) {
	for name, newPolicy := range map[string]func() caddy.Module{
		"p2c":           func() caddy.Module { return new(P2C) },
		"least_request": func() caddy.Module { return new(LeastRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			sel := provisioned(t, newPolicy, "")
			ups := upstreams(2)
			ups[0].Host = busyHost(t)
			for range 500 {
				if u := sel.Select(ups, request(), nil); u != ups[1] {
					t.Fatal("picked the busier of two")
				}
			}
			// With the same number in flight on both, the one with the higher weight is the better
			// choice.
			ups[1].Host = ups[0].Host
			weighted := provisioned(t, newPolicy, name+" {\n weights 2 1\n}")
			for range 500 {
				if u := weighted.Select(ups, request(), nil); u != ups[0] {
					t.Fatal("picked the one with more in flight relative to its weight")
				}
			}
		})
	}
}

// In an idle pool, the shares of every policy follow the weights within 5 sigma.
func TestIdlePoolServesByWeight(t *testing.T) {
	for name, newPolicy := range policies(t) {
		pool, _ := testPool(6, 3, 1)
		config := ""
		if minimal(name) != "" { // a hash policy: each request has another key
			config = name + " {http.request.uuid}"
		}
		count := counts(picks(inPool(t, newPolicy, config, pool), nil, 20_000))
		for u, w := range map[string]float64{"u0": 6, "u1": 3, "u2": 1} {
			p := w / 10
			if dev := math.Abs(float64(count[u]) - 20_000*p); dev > 5*math.Sqrt(20_000*p*(1-p)) {
				t.Errorf("%s: %s got %d of 20000, want %v", name, u, count[u], 20_000*p)
			}
		}
	}
}

// p2c samples pairs evenly: with equal weights and one of n busy, the busy one is never picked and
// the others share evenly, also the neighbours of the busy one (chi-square with n-2 degrees of
// freedom, with a bound above its 5 sigma).
func TestP2CSharesEvenlyBesideABusyBackend(t *testing.T) {
	sel := provisioned(t, func() caddy.Module { return new(P2C) }, "")
	ups := upstreams(6)
	ups[2].Host = busyHost(t)
	const n = 30_000
	count := counts(picks(sel, ups, n))
	chi := 0.0
	for _, u := range ups {
		if u == ups[2] {
			continue
		}
		d := float64(count[u.Dial]) - n/5.0
		chi += d * d / (n / 5.0)
	}
	if limit := 4 + 5*math.Sqrt(2*4); count["u2"] > 0 || chi > limit {
		t.Errorf("got %v: chi-square %v, want at most %v", count, chi, limit)
	}
}

// Requests are in flight longer on a backend that is ten times slower than two others, so the
// policies that compare requests in flight give it less than a third. With load L on a fast backend
// and s = 10 times the service time, equal loads mean a tenth of a fast one's rate: 1 of 21
// requests; twice that is allowed for the granularity of whole requests.
func TestLoadPoliciesAvoidTheSlow(t *testing.T) {
	for _, policy := range lbtest.Policies(lbtest.ByLoad) {
		synctest.Test(t, func(t *testing.T) {
			p := lbtest.NewProxy(t, `{"transport":{"protocol":"lbtest"},
				"load_balancing":{"selection_policy":{"policy":"`+policy+`"}},
				"upstreams":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"slow:1"}]}`,
				lbtest.Backends{
					"a:1": lbtest.Latency(50 * time.Millisecond), "b:1": lbtest.Latency(50 * time.Millisecond),
					"slow:1": lbtest.Latency(500 * time.Millisecond),
				})
			count := load(t, p, 5000, time.Millisecond)
			if limit := 2 * 5000 / 21; count["slow:1"] > limit {
				t.Errorf("%s: the slow backend got %d, want at most %d", policy, count["slow:1"], limit)
			}
		})
	}
}

// load sends n requests, one every interval, and counts them by backend.
func load(t *testing.T, p *lbtest.Proxy, n int, interval time.Duration) map[string]int {
	var mu sync.Mutex
	count := make(map[string]int)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			served, err := p.Get()
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			count[served]++
			mu.Unlock()
		})
		time.Sleep(interval)
	}
	wg.Wait()
	return count
}

// With every policy, no retry goes to a backend that was tried while an untried one is left.
func TestRetriesUseOtherBackends(t *testing.T) {
	for name := range policies(t) {
		synctest.Test(t, func(t *testing.T) {
			met := make(map[string]int)
			refuse := func(req *http.Request) (int, error) {
				info, _ := reverseproxy.GetDialInfo(req.Context())
				met[info.Address]++
				return lbtest.Refused(req)
			}
			p := lbtest.NewProxy(t, `{"transport":{"protocol":"lbtest"},
				"load_balancing":{"retries":3,"selection_policy":`+leastJSON(name)+`},
				"upstreams":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1"},{"dial":"d:1"}]}`,
				lbtest.Backends{"a:1": refuse, "b:1": refuse, "c:1": refuse, "d:1": refuse})
			for range 50 {
				clear(met)
				if _, err := p.Get(); err == nil {
					t.Fatalf("%s: no error although all backends refuse", name)
				}
				if len(met) != 4 {
					t.Fatalf("%s: 4 attempts went to %v", name, met)
				}
			}
		})
	}
}
