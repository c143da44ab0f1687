// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

// gauge counts the requests that a backend has in flight, and for how long these are more than a limit.
type gauge struct {
	limit int

	mu    sync.Mutex
	now   int
	peak  int           // since the latest reset
	total int           // likewise
	since time.Time     // when now rose above the limit; zero while it is not
	above time.Duration // the longest time above it since the latest reset
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now += n; n > 0 {
		g.total++
	}
	g.peak = max(g.peak, g.now)
	switch {
	case g.now > g.limit && g.since.IsZero():
		g.since = time.Now()
	case g.now <= g.limit && !g.since.IsZero():
		g.above = max(g.above, time.Since(g.since))
		g.since = time.Time{}
	}
}

// reset returns what there was since the latest call.
func (g *gauge) reset() (peak, total int, above time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	peak, total, above = g.peak, g.total, g.above
	g.peak, g.total, g.above = g.now, 0, 0
	return peak, total, above
}

// served returns how many requests have come since the latest reset.
func (g *gauge) served() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// ServeHTTP implements [http.Handler].
func (g *gauge) ServeHTTP(http.ResponseWriter, *http.Request) {
	g.add(1)
	defer g.add(-1)
	<-time.After(time.Duration(20+rand.IntN(40)) * time.Millisecond)
}

// Five Caddys share a limit: all together never have more requests in flight. While one joins or dies
// they have at most one share more, for at most 5 s.
func TestFleetCap(t *testing.T) {
	const limit, share = 10, 2
	redis := startRedis(t)
	g := &gauge{limit: limit}
	b := startScripted(t, freeAddress(t), nil)
	b.serves(g.ServeHTTP)
	global := func(i int) string {
		return fmt.Sprintf("ballast {\nfleet {\nid caddy%d\nstore redis %s\n}\npool web {\nto %s\nmax_requests %d fleet\nqueue 100 1s\n}\n}", i, redis, b.address, limit)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: soon}
	t.Cleanup(client.CloseIdleConnections)
	var all []*caddyProcess
	// start starts an instance, with more clients than its share.
	start := func(i int) *caddyProcess {
		port := freePort(t)
		c := &caddyProcess{t: t, admin: freeAddress(t), dir: t.TempDir(), binary: redisCaddy(t)}
		t.Cleanup(c.stop)
		c.start(global(i), fmt.Sprintf("http://127.0.0.1:%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool web\n}\n}", port))
		quit := make(chan struct{})
		var clients sync.WaitGroup
		for range 2 * share {
			clients.Go(func() {
				for {
					select {
					case <-quit:
						return
					default:
					}
					if res, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port)); err == nil {
						res.Body.Close()
					} else {
						<-time.After(20 * time.Millisecond) // it is dead
					}
				}
			})
		}
		t.Cleanup(func() { close(quit); clients.Wait() }) // before the instance stops
		return c
	}
	settled := func(living []*caddyProcess) func() bool {
		return func() bool {
			sum := 0.0
			for _, c := range living {
				answer := c.must(http.StatusOK, http.MethodGet, webBackends+"/"+b.address, "")
				parts, _ := answer["fleet_limit"].(map[string]any)
				part, _ := parts["share"].(float64)
				sum += part
			}
			return sum == limit
		}
	}
	generation := func() any { return all[1].must(http.StatusOK, http.MethodGet, "fleet", "")["generation"] }
	// steady looks until no instance was taken for dead meanwhile, as one may be on a busy machine.
	steady := func(when string) {
		t.Helper()
		for range 5 {
			before := generation()
			g.reset()
			eventually(t, "200 more requests", func() bool { return g.served() >= 200 })
			peak, total, _ := g.reset()
			if generation() != before {
				continue
			}
			if t.Logf("%s: at most %d of %d requests in flight at once", when, peak, total); peak > limit {
				t.Errorf("%s: %d requests in flight at once, the limit is %d", when, peak, limit)
			}
			return
		}
		t.Errorf("%s: the fleet is never steady", when)
	}
	changed := func(when string) {
		t.Helper()
		peak, _, above := g.reset()
		if t.Logf("%s: at most %d in flight, above the limit for %v", when, peak, above); peak > limit+share || above > 5*time.Second {
			t.Errorf("%s: %d requests in flight at once, above the limit of %d for %v", when, peak, limit, above)
		}
	}
	for i := range 4 {
		all = append(all, start(i))
	}
	eventually(t, "four have their shares", settled(all))
	g.reset()
	all = append(all, start(4))
	eventually(t, "five have their shares", settled(all))
	changed("when one joins")
	steady("with five")
	all[0].kill()
	eventually(t, "the others have the share of the dead one", settled(all[1:]))
	changed("when one dies")
	steady("with four")
}
