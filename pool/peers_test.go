// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// How other load balancers fail, by their own trackers. What is tested elsewhere:
// failures that are not consecutive (Caddy), a reload that makes all healthy
// (Caddy, Traefik) or forgets failures (Caddy), retries that meet the same dead
// backend (Caddy, Traefik), no checks of discovered backends (Caddy), a single
// backend that its slow probe takes out (Caddy), checks that wait for each other
// (Traefik, Pingora), a backend without samples that gets all (Traefik).

// Weights 3, 1, 1 with the first down: the others are alike, not 80 to 20 (Caddy).
func TestPeerWeightsOfThoseThatAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		p := load(t, nil, proxy("wrr", `"backends":[{"dial":"a:1","weight":3},{"dial":"b:1"},{"dial":"c:1"}],`+check(t, "")))
		seconds(1)
		if got := served(t, p, 100); got["b:1"] != 50 || got["c:1"] != 50 {
			t.Errorf("served by %v", got)
		}
	})
}

// A health check that passes does not bring back a backend that fails its traffic
// (envoy#28303).
func TestPeerChecksDoNotUneject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		asked := 0
		p := pooled(t, wrr, oneRetry, check(t, ""), three(func(*http.Request) (int, error) {
			asked++
			return http.StatusServiceUnavailable, nil
		}))
		traffic{rate: 100, length: 25 * time.Second}.send(p) // and as many probes pass
		if asked != 5 {
			t.Errorf("%d requests in 25 s, want 5", asked)
		}
	})
}

// In a pool of 2, 3, 4 or 9 the bad ones are found, though they are too many for
// statistics (envoy#3263, gRPC A50) and a tenth of the pool is nobody.
func TestPeerSmallPools(t *testing.T) {
	for n, bad := range map[int]int{2: 1, 3: 1, 4: 2, 9: 4} {
		t.Run(fmt.Sprint(bad, " of ", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backends := make(lbtest.Backends)
				var list []string
				for i := range n {
					list = append(list, fmt.Sprintf("b%d:1", i))
					backends[list[i]] = lbtest.Latency(fast)
					if i < bad {
						backends[list[i]] = status(http.StatusBadGateway)
					}
				}
				p, err := lbtest.Load(t, nil, proxy("p2c", dials(list...)), backends)
				if err != nil {
					t.Fatal(err)
				}
				// Five errors eject. One may be on its way then.
				if got := (traffic{rate: 200, length: 20 * time.Second}).send(p); got.lost > (5+1)*bad {
					t.Errorf("%d of %d requests were lost", got.lost, got.sent)
				}
			})
		})
	}
}

// When all fail, requests are still sent somewhere (Linkerd: 503 by itself), and
// one success is not needed to begin with the first that works again.
func TestPeerAllTripped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well := func(req *http.Request) (int, error) { return lbtest.Latency(fast)(req) }
		backends := make(lbtest.Backends)
		for _, b := range []string{"a:1", "b:1", "c:1"} {
			backends[b] = after(time.Second, lbtest.Refused, well)
		}
		p := pooled(t, `{"policy":"p2c"}`, `,"retries":2`, "", backends)
		traffic{rate: 100, length: time.Second}.send(p)
		if got := (traffic{rate: 100, length: 5 * time.Second}).send(p); got.lostSince(100*time.Millisecond) > 0 {
			t.Errorf("%d requests were lost though all work again", got.lost)
		}
	})
}

// A single failure ejects nobody (nginx max_fails=1, Traefik).
func TestPeerOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p := pooled(t, wrr, oneRetry, "", three(func(req *http.Request) (int, error) {
			if n++; n%4 == 0 { // every fourth
				return lbtest.Refused(req)
			}
			return lbtest.Latency(fast)(req)
		}))
		// It has a third of the first attempts, and answers 3/4 of them; the others are
		// made again elsewhere, and take none of its turns.
		got, want := traffic{rate: 100, length: 30 * time.Second}.send(p), 1./3*3/4
		if share := float64(got.served["a:1"]) / float64(got.sent); math.Abs(share-want) > 0.01 || got.lost > 0 {
			t.Errorf("a served %.3f, want %.3f; %d lost", share, want, got.lost)
		}
	})
}

// What fails fast does not attract requests: it gets no more than its share until
// it is ejected (linkerd2#11055, Envoy's least request).
func TestPeerSinkhole(t *testing.T) {
	for _, policy := range lbtest.Policies(lbtest.ByLoad, lbtest.ByLatency) {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pooled(t, fmt.Sprintf(`{"policy":%q}`, policy), "", "", lbtest.Backends{
					"a:1": status(http.StatusServiceUnavailable), "b:1": lbtest.Latency(50 * time.Millisecond), "c:1": lbtest.Latency(50 * time.Millisecond)})
				got := traffic{rate: 200, length: 25 * time.Second}.send(p)
				if got.lost > 5+1 { // five to be ejected, and one more on its way
					t.Errorf("%d of %d requests were lost", got.lost, got.sent)
				}
			})
		})
	}
}
