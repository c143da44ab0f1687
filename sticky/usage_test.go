// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// drained says what an operator is told of a backend that is drained.
func drained(address string) report.Drain {
	pool := pool.Current("web")
	b := pool.Find(address)
	b.SetAdmin(health.Drain)
	pool.Publish()
	return *report.OfBackend(pool, b).Drain
}

// A session that was used within a minute is seen at once, also one that has just
// begun, and one that was used before a reload; afterwards it is not, though nobody
// sends anything. One in a table is bound until its ttl is over.
func TestDrainKnowsOfSessions(t *testing.T) {
	for _, k := range kinds {
		for _, used := range []bool{false, true} {
			for _, reload := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					base := setup{n: 2, policy: k.policy + `,"ttl":"100s"`}
					s := base.load(t, newWorld(t))
					time.Sleep(2 * time.Minute)
					c := k.client(1)
					home := c.get(s).backend + ":1"
					if used {
						time.Sleep(20 * time.Second)
						expect(t, k.name, c.get(s), home[:1], "kept")
					}
					if reload {
						base.load(t, newWorld(t))
						s.Close()
					}
					other := map[string]string{"a:1": "b:1", "b:1": "a:1"}[home]
					lasts := 60 * time.Second
					if k.name != "cookie" {
						lasts = 100 * time.Second
					}
					began := time.Now()
					for time.Since(began) < lasts {
						if d := drained(home); d.Safe || d.Sessions == nil || *d.Sessions != 1 {
							t.Fatalf("%s, used again %v, reload %v, after %v: %+v", k.name, used, reload, time.Since(began), d)
						}
						if d := drained(other); !d.Safe || *d.Sessions != 0 {
							t.Fatalf("%s: another backend: %+v", k.name, d)
						}
						time.Sleep(time.Second)
					}
					time.Sleep(12 * time.Second) // the ttl is exact to a tenth
					if d := drained(home); !d.Safe || *d.Sessions != 0 {
						t.Errorf("%s, used again %v, reload %v: after %v without requests: %d sessions, safe %v", k.name, used, reload, time.Since(began), *d.Sessions, d.Safe)
					}
				})
			}
		}
	}
}

// Clients know of sessions that nobody has seen since the start: for a minute none is
// not said. A table that is empty is.
func TestDrainAfterAStart(t *testing.T) {
	for _, k := range kinds {
		synctest.Test(t, func(t *testing.T) {
			s := setup{n: 2, policy: k.policy}.load(t, newWorld(t))
			cookie := k.name == "cookie"
			if d := drained("a:1"); d.Safe == cookie || (d.Sessions == nil) != cookie {
				t.Errorf("%s, at the start: %+v", k.name, d)
			}
			if got := len(scrape(t, s, "caddy_ballast_backend_sessions")); (got == 0) != cookie {
				t.Errorf("%s, at the start: %d series", k.name, got)
			}
			time.Sleep(59 * time.Second)
			if d := drained("a:1"); d.Safe == cookie {
				t.Errorf("%s, within the first minute: %+v", k.name, d)
			}
			time.Sleep(time.Second)
			if d := drained("a:1"); !d.Safe || *d.Sessions != 0 {
				t.Errorf("%s, after a minute: %+v", k.name, d)
			}
			if got := len(scrape(t, s, "caddy_ballast_backend_sessions")); got != 2 {
				t.Errorf("%s, after a minute: %d series", k.name, got)
			}
		})
	}
}

// Whatever clients do, a backend is safe to remove if, and only if, no session that it
// has was used in the last minute, give or take a second.
func TestDrainIsTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setup{n: 3, policy: byCookie}.load(t, newWorld(t))
		time.Sleep(2 * time.Minute)
		used := make(map[string]time.Time)
		clients := clientsOf(6, func(int) *client { return newClient() })
		seen := make(map[bool]int)
		for range 2000 {
			// Sometimes nobody comes for minutes.
			time.Sleep(time.Duration(rand.ExpFloat64() * float64([]time.Duration{time.Second, 70 * time.Second}[rand.IntN(2)])))
			if rand.IntN(2) == 0 {
				n := rand.IntN(len(clients))
				if rand.IntN(10) == 0 {
					clients[n] = newClient()
				}
				used[clients[n].get(s).backend+":1"] = time.Now()
			}
			pool := pool.Current("web")
			for _, address := range []string{"a:1", "b:1", "c:1"} {
				idle, safe := time.Since(used[address]), pool.Drained(pool.Find(address))
				if idle <= time.Minute && safe || idle > 61*time.Second && !safe {
					t.Fatalf("safe %v, %v after the last request of a session", safe, idle)
				}
				seen[safe]++
			}
		}
		if seen[true] < 500 || seen[false] < 500 {
			t.Errorf("the test has seen too little: %v", seen)
		}
	})
}

// A session that has moved away is not waited for.
func TestMovedSessionsAreGone(t *testing.T) {
	for _, k := range oneOfEach {
		synctest.Test(t, func(t *testing.T) {
			s := setup{n: 2, policy: k.policy}.load(t, newWorld(t))
			time.Sleep(2 * time.Minute)
			c := k.client(1)
			home := c.get(s).backend
			time.Sleep(50 * time.Second)
			s.change(home+":1", func(b *backend.Backend) { b.SetAdmin(health.Maint) })
			got := c.get(s)
			if got.session != "moved" {
				t.Fatal(got)
			}
			time.Sleep(12 * time.Second) // 62 s after its last request here
			pool := pool.Current("web")
			if n := pool.Sessions(pool.Find(home + ":1")).Known; n != 0 {
				t.Errorf("%s: %d sessions where it was", k.name, n)
			}
			if n := pool.Sessions(pool.Find(got.backend + ":1")).Known; n != 1 {
				t.Errorf("%s: %d sessions where it is", k.name, n)
			}
		})
	}
}
