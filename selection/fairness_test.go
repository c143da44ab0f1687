// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"math"
	weakrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// jittery returns a backend that answers in d, up to a tenth more or less.
func jittery(d time.Duration) lbtest.Answerer {
	return func(req *http.Request) (int, error) {
		return lbtest.Latency(time.Duration(float64(d) * (0.9 + 0.2*weakrand.Float64())))(req)
	}
}

// With sequential requests of one client, each of n equal backends gets at least half its fair
// share of 300. For random policies the bound is 5 standard deviations away: with 4 backends the
// fair share is 75, with a deviation of 7.5.
func testFairness(t *testing.T, newPolicy func() caddy.Module) {
	config := keyedJSON(newPolicy().CaddyModule().ID.Name())
	for _, d := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond} {
		for n := 2; n <= 4; n++ {
			served := sequential(t, config, 300, n, func(int) lbtest.Answerer { return jittery(d) })
			for i, got := range served {
				if got < 300/n/2 {
					t.Errorf("of %d equal backends that take %v, number %d got %d of 300 requests: %v", n, d, i, got, served)
				}
			}
		}
	}
}

// keyedJSON is leastJSON with the key that sequential gives each request, for a keyed policy.
func keyedJSON(name string) string {
	if minimal(name) == "" {
		return leastJSON(name)
	}
	return fmt.Sprintf(`{"policy":%q,"key":"header","key_name":"X-Key"}`, name)
}

// sequential sends requests one after the other to n backends, each with another key, and returns
// how many each backend got.
func sequential(t *testing.T, policy string, requests, n int, backend func(i int) lbtest.Answerer) []int {
	t.Helper()
	served := make([]int, n)
	synctest.Test(t, func(t *testing.T) {
		backends, ups := make(lbtest.Backends), make([]string, n)
		for i := range n {
			b, address := backend(i), fmt.Sprintf("b%d:80", i)
			ups[i] = fmt.Sprintf(`{"dial":%q}`, address)
			backends[address] = func(req *http.Request) (int, error) {
				served[i]++
				return b(req)
			}
		}
		p := lbtest.NewProxy(t, `{"transport":{"protocol":"lbtest"},"load_balancing":{"retries":3,"selection_policy":`+policy+`},
			"upstreams":[`+strings.Join(ups, ",")+`]}`, backends)
		for k := range requests {
			req := httptest.NewRequest(http.MethodGet, "http://x/", nil)
			req.Header.Set("X-Key", fmt.Sprint("key-", k))
			if _, err := p.Do(req); err != nil {
				t.Fatal(err)
			}
		}
	})
	return served
}

// A retry does not take the turn of its backend: of n backends, the one that refuses gets a fair
// share of the first attempts, not all of them. Policies with turns give it exactly that share;
// random ones are within 5 standard deviations; those that count failures give it less.
func TestRetriesTakeNoTurns(t *testing.T) {
	configs := map[string]string{"hash, by its fallback": `{"policy":"rendezvous","key":"header","key_name":"X-None"}`}
	for name := range policies(t) {
		configs[name] = keyedJSON(name)
	}
	const requests = 60
	for name, config := range configs {
		for n := 2; n <= 4; n++ {
			attempts, first := 0, make([]int, n)
			sequential(t, config, requests, n, func(i int) lbtest.Answerer {
				return func(req *http.Request) (int, error) {
					if attempts++; attempts == 1 {
						first[i]++
					}
					if i == 0 {
						return lbtest.Refused(req)
					}
					attempts = 0
					return jittery(5 * time.Millisecond)(req)
				}
			})
			share := float64(requests / n)
			if most := share + 5*math.Sqrt(share*(1-1/float64(n))); float64(first[0]) > most {
				t.Errorf("%s: the one of %d that refuses got %d of %d first attempts, want at most %.0f", name, n, first[0], requests, most)
			}
			if takesTurns := name == "wrr" || strings.HasPrefix(name, "hash"); takesTurns && (slices.Min(first) != requests/n || slices.Max(first) != requests/n) {
				t.Errorf("%s: the first attempts were %v, want %d each", name, first, requests/n)
			}
		}
	}
}
