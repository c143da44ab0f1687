// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// kinds are all ways to tell a session, and clients that use them.
var kinds = []struct {
	name, policy string
	client       func(n int) *client
}{
	{"cookie", byCookie, func(int) *client { return newClient() }},
	{"header", `,"header":"X-Client"`, func(n int) *client {
		c := newClient()
		c.header.Set("X-Client", fmt.Sprint("client ", n))
		return c
	}},
	{"header, and the IP address where there is none", `,"header":"X-Client"`, func(n int) *client {
		c := newClient()
		c.ip = fmt.Sprint("10.0.0.", n)
		return c
	}},
	{"client_ip", `,"client_ip":true`, func(n int) *client {
		c := newClient()
		c.ip = fmt.Sprint("10.0.1.", n)
		return c
	}},
	{"query", `,"query":"sid"`, func(n int) *client {
		c := newClient()
		c.query = fmt.Sprint("?sid=", n)
		return c
	}},
}

// each runs a test in virtual time for every kind of session, in a pool and on a
// list.
func each(t *testing.T, f func(t *testing.T, w *world, base setup, client func(n int) *client)) {
	for _, k := range kinds {
		for _, list := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, list %v", k.name, list), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { f(t, newWorld(t), setup{policy: k.policy, list: list}, k.client) })
			})
		}
	}
}

func TestSessionsStay(t *testing.T) {
	each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
		base.n = 4
		s := base.load(t, w)
		homes := make(map[string]int)
		for n := range 40 {
			c := client(n)
			first := c.get(s)
			if first.session != "new" || first.policy != "wrr" {
				t.Fatalf("the first request: %v, by %s", first, first.policy)
			}
			homes[first.backend]++
			for range 5 {
				got := c.get(s)
				expect(t, "a later request", got, first.backend, "kept")
				if got.policy != "sticky" || len(got.set) > 0 {
					t.Errorf("by policy %s, and %d cookies are set", got.policy, len(got.set))
				}
			}
		}
		for b, n := range homes { // a new view begins another round
			if n < 9 || n > 11 {
				t.Errorf("%s has %d sessions of 40", b, n)
			}
		}
	})
}

// Clients that send nothing to be told by are served, each time by any.
func TestWithoutAnID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setup{n: 2, policy: `,"query":"sid"`}.load(t, newWorld(t))
		c, served := newClient(), make(map[string]int)
		for range 10 {
			got := c.get(s)
			if served[got.backend]++; got.session != "new" {
				t.Errorf("got %v", got)
			}
		}
		if served["a"] < 4 || served["b"] < 4 {
			t.Errorf("served by %v", served)
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
		base.n = 3
		base.policy += `,"ttl":"100s","max_lifetime":"300s"`
		s := base.load(t, w)
		c := client(1)
		home := c.get(s).backend
		refreshed := 0
		for range 30 { // 270 s: used, it does not end
			time.Sleep(9 * time.Second)
			got := c.get(s)
			expect(t, "used", got, home, "kept")
			refreshed += len(got.set)
		}
		if strings.Contains(base.policy, "cookie") && refreshed != 15 {
			t.Errorf("the cookie was set %d times in 270 s, want once in two uses: a tenth of the ttl is 10 s", refreshed)
		}
		time.Sleep(31 * time.Second)
		if got := c.get(s); got.session != "new" {
			t.Errorf("after max_lifetime: %v", got)
		}
		time.Sleep(111 * time.Second)
		if got := c.get(s); got.session != "new" {
			t.Errorf("after the ttl: %v", got)
		}
	})
}

// However a client comes by, its session ends no sooner than the ttl after its last
// request, and no later than a tenth after that, at least a second; at the latest a
// second after max_lifetime. A ttl with a fraction of a second counts as the next whole
// one.
func TestLifetimesAreExact(t *testing.T) {
	each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
		base.n = 2
		for _, ttl := range []time.Duration{time.Second, 1500 * time.Millisecond, 2 * time.Second, 5 * time.Second, 10 * time.Second, 19 * time.Second, 100 * time.Second} {
			one := base
			life := 6 * ttl
			one.policy += fmt.Sprintf(`,"ttl":%d,"max_lifetime":%d`, ttl, life)
			s := one.load(t, w)
			late := ttl.Round(time.Second) - ttl + max(ttl/10, time.Second)
			ends := make(map[bool]int)
			c, began, used := client(1), time.Time{}, time.Time{}
			for range 300 {
				// Half of the pauses are short, and half about as long as the ttl.
				d := time.Duration(rand.Float64() * float64(ttl) / 2)
				if rand.IntN(2) == 0 {
					d = ttl - ttl/5 + time.Duration(rand.Float64()*float64(late+ttl/2))
				}
				time.Sleep(d)
				ended := c.get(s).session == "new"
				idle, age := time.Since(used), time.Since(began)
				if !began.IsZero() {
					if ends[ended]++; ended && idle <= ttl && age <= life {
						t.Fatalf("ttl %v: ended after %v, of %v", ttl, idle, age)
					}
					if !ended && (idle > ttl+late || age > life+2*time.Second) {
						t.Fatalf("ttl %v: lives after %v, of %v", ttl, idle, age)
					}
				}
				if used = time.Now(); ended {
					began = used
				}
			}
			if ends[true] < 20 || ends[false] < 20 {
				t.Errorf("ttl %v: the test has seen too little: %v", ttl, ends)
			}
			s.Close()
		}
	})
}

// Full is a backend with one request in flight, and what then becomes of the
// second one of its session.
func TestOnFull(t *testing.T) {
	for _, c := range []struct{ onFull, then, later string }{
		{"", "spilled", "kept, home"},
		{"spill", "spilled", "kept, home"},
		{"rebind", "moved", "kept, elsewhere"},
	} {
		each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
			base.n, base.member = 2, `,"max_requests":1`
			if c.onFull != "" {
				base.policy += fmt.Sprintf(`,"on_full":%q`, c.onFull)
			}
			s := base.load(t, w)
			k := client(1)
			home := k.get(s).backend
			other := map[string]string{"a": "b", "b": "a"}[home]
			w.set(func() { w.slow[home+":1"] = time.Second })
			var wg sync.WaitGroup
			busy := *k
			wg.Go(func() { expect(t, "the one in flight", busy.get(s), home, "kept") })
			synctest.Wait()
			got := k.get(s)
			expect(t, "while it is full", got, other, c.then)
			if c.then == "spilled" && len(got.set) > 0 {
				t.Error("a cookie was set for a request that was spilled")
			}
			wg.Wait()
			if c.later == "kept, home" {
				expect(t, "afterwards", k.get(s), home, "kept")
			} else {
				expect(t, "afterwards", k.get(s), other, "kept")
			}
		})
	}
}

func TestOnFullWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := setup{n: 2, member: `,"max_requests":1`, pool: `,"queue":{"size":5,"timeout":"2s"}`, policy: byCookie + `,"on_full":"wait"`}.load(t, w)
		k := newClient()
		home := k.get(s).backend
		w.set(func() { w.slow[home+":1"] = time.Second })
		var wg sync.WaitGroup
		began := time.Now()
		for range 3 {
			wg.Go(func() {
				c := *k
				if got := c.get(s); time.Since(began) < 2*time.Second {
					expect(t, "who waits", got, home, "kept")
				} else if got.status != 503 && got.backend != home {
					t.Errorf("the third: %v, %d", got, got.status)
				}
			})
		}
		wg.Wait()
		w.set(func() { w.slow[home+":1"] = 3 * time.Second })
		wg.Go(func() { c := *k; c.get(s) })
		synctest.Wait()
		if got := k.get(s); got.status != 503 || got.reason != string(pool.ReasonQueueTimeout) {
			t.Errorf("whose patience ended: %v, %d %s", got, got.status, got.reason)
		}
		wg.Wait()
	})
}

// A backend that goes down loses its sessions to others, for good; those of others
// stay. No request reaches it once that is known.
func TestOnDown(t *testing.T) {
	each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
		if base.list {
			t.Skip("Caddy's checks say who is down there")
		}
		base.n, base.pool = 3, check(t)
		s := base.load(t, w)
		clients, homes := clientsOf(30, client), make([]string, 30)
		for n := range clients {
			homes[n] = clients[n].get(s).backend
		}
		w.set(func() { w.sick["a:1"] = true })
		time.Sleep(2 * time.Second)
		for n, c := range clients {
			got := c.get(s)
			if homes[n] != "a" {
				expect(t, "of a healthy backend", got, homes[n], "kept")
				continue
			}
			if got.session != "moved" || got.backend == "a" || got.backend == "" {
				t.Errorf("of the one that is down: %v, %d", got, got.status)
			}
			homes[n] = got.backend
		}
		w.set(func() { w.sick["a:1"] = false })
		time.Sleep(5 * time.Second)
		for n, c := range clients {
			expect(t, "when it is back", c.get(s), homes[n], "kept")
		}
		if w.dead["a:1"] > 0 {
			t.Errorf("%d requests reached a dead backend", w.dead["a:1"])
		}
	})
}

func TestOnDownFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := setup{n: 2, pool: check(t), policy: byCookie + `,"on_down":"fail"`}.load(t, w)
		k := newClient()
		home := k.get(s).backend
		w.set(func() { w.sick[home+":1"] = true })
		time.Sleep(2 * time.Second)
		if got := k.get(s); got.status != 503 || got.reason != "session_down" || len(got.set) > 0 {
			t.Errorf("%v, %d %s", got, got.status, got.reason)
		}
		if got := newClient().get(s); got.session != "new" || got.backend == home {
			t.Errorf("a new session: %v", got)
		}
		w.set(func() { w.sick[home+":1"] = false })
		time.Sleep(2 * time.Second)
		expect(t, "when it is back", k.get(s), home, "kept")
	})
}

// Draining, and with weight 0, a backend keeps its sessions and gets no new ones; in
// maintenance it loses them.
func TestOperator(t *testing.T) {
	zero := &health.AgentWeight{}
	for name, change := range map[string]func(*backend.Backend){
		"drain":    func(b *backend.Backend) { b.SetAdmin(health.Drain) },
		"weight 0": func(b *backend.Backend) { b.SetWeight(zero) },
		"maint":    func(b *backend.Backend) { b.SetAdmin(health.Maint) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
				if base.list {
					t.Skip("there is no operator")
				}
				base.n = 3
				s := base.load(t, w)
				k := client(1)
				home := k.get(s).backend
				s.change(home+":1", change)
				got := k.get(s)
				if name == "maint" {
					if got.session != "moved" || got.backend == home {
						t.Errorf("in maintenance: %v", got)
					}
					home = got.backend
				}
				for range 3 {
					expect(t, "later", k.get(s), home, "kept")
				}
				for n := range 20 {
					if got := client(100 + n).get(s); name != "maint" && got.backend == home || got.session != "new" {
						t.Errorf("a new session: %v", got)
					}
				}
			})
		})
	}
}

// Sessions of a backend that is gone from the configuration move, and stay where they
// are when it is back.
func TestBackendsComeAndGo(t *testing.T) {
	for _, k := range kinds {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			base := setup{n: 3, policy: k.policy}
			old := base.load(t, w)
			clients := clientsOf(6, k.client)
			homes := make([]string, len(clients))
			for n, c := range clients {
				homes[n] = c.get(old).backend
			}
			base.order = []int{0, 1}
			base.n = 2
			s := base.load(t, w)
			old.Close()
			for n, c := range clients {
				got := c.get(s)
				switch {
				case homes[n] == "c" && (got.session != "moved" || got.backend == "c"):
					t.Errorf("%s: a session of one that is gone: %v", k.name, got)
				case homes[n] != "c":
					expect(t, k.name+", of one that stays", got, homes[n], "kept")
				}
				homes[n] = got.backend
			}
			base.n, base.order = 3, nil
			again := base.load(t, w)
			s.Close()
			for n, c := range clients {
				expect(t, k.name+", when it is back", c.get(again), homes[n], "kept")
			}
		})
	}
}

// While its home is drained and full, a session is served elsewhere and returns; if
// it goes down, the session moves.
func TestDrainingBackendsAreNoException(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := setup{n: 2, member: `,"max_requests":1`, pool: check(t), policy: byCookie}.load(t, w)
		k := newClient()
		home := k.get(s).backend
		s.change(home+":1", func(b *backend.Backend) { b.SetAdmin(health.Drain) })
		w.set(func() { w.slow[home+":1"] = time.Second })
		var wg sync.WaitGroup
		busy := *k
		wg.Go(func() { expect(t, "drained", busy.get(s), home, "kept") })
		synctest.Wait()
		if got := k.get(s); got.session != "spilled" || got.backend == home {
			t.Errorf("full: %v", got)
		}
		wg.Wait()
		w.set(func() { w.sick[home+":1"] = true })
		time.Sleep(2 * time.Second)
		if got := k.get(s); got.session != "moved" || got.backend == home {
			t.Errorf("down: %v", got)
		}
	})
}

// A request that fails is tried elsewhere, and its session stays unless its backend
// is down; a session that begins with it is bound to who answers.
func TestRetries(t *testing.T) {
	each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
		base.n, base.retries = 3, 2
		s := base.load(t, w)
		k := client(1)
		home := k.get(s).backend
		w.set(func() { w.sick[home+":1"] = true })
		got := k.get(s)
		if got.session != "spilled" || got.backend == home || got.backend == "" || len(got.set) > 0 {
			t.Errorf("after a refused connection: %v, %d, %v", got, got.status, got.set)
		}
		w.set(func() { w.sick[home+":1"] = false })
		expect(t, "afterwards", k.get(s), home, "kept")

		w.set(func() { w.sick = map[string]bool{"a:1": true, "b:1": true} })
		for n := range 6 {
			c := client(10 + n)
			got := c.get(s)
			expect(t, "a session that begins", got, "c", "new")
			if n := len(got.set); n > 1 || strings.Contains(base.policy, "cookie") && n != 1 {
				t.Errorf("%d cookies are set", n)
			}
			expect(t, "its next request", c.get(s), "c", "kept")
		}
	})
}

// A session that begins or moves with a request has not been kept when the request is tried again on the only backend.
func TestRetriesOnTheOnlyBackend(t *testing.T) {
	each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
		base.n, base.retries = 2, 2
		if base.list {
			return // no backend can be taken out
		}
		s := base.load(t, w)
		operate := func(address string, to health.Admin) {
			s.change(address, func(b *backend.Backend) { b.SetAdmin(to) })
		}
		operate("b:1", health.Maint)
		w.set(func() { w.sick["a:1"], w.sick["b:1"] = true, true })
		if got := client(1).get(s); got.session != "new" || w.dead["a:1"] != 3 {
			t.Errorf("a session that begins: %v after %v", got.session, w.dead)
		}
		w.set(func() { w.sick["a:1"] = false })
		k := client(2)
		expect(t, "a session that begins", k.get(s), "a", "new")
		operate("a:1", health.Maint)
		operate("b:1", health.Ready)
		if got := k.get(s); got.session != "moved" || w.dead["b:1"] != 3 {
			t.Errorf("a session that moves: %v after %v", got.session, w.dead)
		}
	})
}

// Sessions follow the id of a backend, which the order and the address do not
// change, nor a restart; three instances honour each other's cookies.
func TestInstancesAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		base := setup{n: 4, policy: byCookie}
		one := base.load(t, w)
		base.order = []int{3, 1, 0, 2}
		two := base.load(t, w)
		base.order = []int{2, 3, 1, 0}
		three := base.load(t, w)
		for range 20 {
			k := newClient()
			home := k.get(one).backend
			for _, s := range []*site{two, three, one, three} {
				expect(t, "on another instance", k.get(s), home, "kept")
			}
		}
		k := newClient()
		home := k.get(two).backend
		two.Close()
		base.order = nil
		expect(t, "after a restart", k.get(base.load(t, w)), home, "kept")
	})
}

// What is no cookie of ours is as good as none.
func TestForeignCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := setup{n: 3, policy: byCookie}.load(t, w)
		k := newClient()
		home := k.get(s).backend
		good := k.cookies[cookieName]
		other := newClient()
		other.get(setup{n: 3, policy: `,"cookie":{"secret":"another secret of the test"}`}.load(t, w))
		for _, bad := range []string{"", "x", good[1:], good + "A", strings.Repeat("A", 60), strings.Repeat("A", 3000), other.cookies[cookieName]} {
			c := newClient()
			c.cookies[cookieName] = bad
			if got := c.get(s); got.session != "new" || got.status != http.StatusOK || len(got.set) != 1 {
				t.Errorf("%.70q: %v, %d", bad, got, got.status)
			}
		}
		// Beside a good one, a bad one does no harm.
		c := newClient()
		c.header["Cookie"] = []string{"a=b; ballast_web=x; ballast_web=" + good}
		expect(t, "of two", c.get(s), home, "kept")
	})
}

func TestAttributes(t *testing.T) {
	for _, c := range []struct {
		cookie      string
		https, want string
	}{
		{"", "; Path=/; HttpOnly; Secure; SameSite=Lax", "; Path=/; HttpOnly; SameSite=Lax"},
		{`,"secure":true,"same_site":"none"`, "; Path=/; HttpOnly; Secure; SameSite=None", "; Path=/; HttpOnly; Secure; SameSite=None"},
		{`,"path":"/app","domain":"example.com","same_site":"strict","max_age":"1h"`,
			"; Path=/app; Domain=example.com; Max-Age=3600; HttpOnly; Secure; SameSite=Strict", "; Path=/app; Domain=example.com; Max-Age=3600; HttpOnly; SameSite=Strict"},
	} {
		s := setup{n: 1, policy: `,"cookie":{"name":"who",` + secret + c.cookie + `}`}.load(t, newWorld(t))
		for _, https := range []bool{true, false} {
			k, want := newClient(), c.want
			if k.https = https; https {
				want = c.https
			}
			set := k.get(s).set
			if len(set) != 1 || set[0].Name != "who" || !strings.HasSuffix(set[0].Raw, set[0].Value+want) {
				t.Errorf("%s, https %v: %v", c.cookie, https, set)
			}
		}
	}
}

// Two requests of a new client that come at once are one session, where a table
// tells.
func TestOneSessionOfTwoAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world, base setup, client func(int) *client) {
		if strings.Contains(base.policy, "cookie") {
			t.Skip("a browser keeps the cookie that came last")
		}
		base.n = 4
		s := base.load(t, w)
		w.set(func() {
			for _, b := range "abcd" {
				w.slow[string(b)+":1"] = time.Second
			}
		})
		for n := range 20 {
			var wg sync.WaitGroup
			got := make([]string, 5)
			for i := range got {
				wg.Go(func() { got[i] = client(n).get(s).backend })
			}
			wg.Wait()
			for _, b := range got {
				if b != got[0] {
					t.Fatalf("served by %v", got)
				}
			}
		}
	})
}

// Any policy may choose, Caddy's own too.
func TestFallbacks(t *testing.T) {
	for _, fallback := range append(lbtest.KeylessPolicies(),
		"random", "round_robin", "least_conn", "first", "ip_hash", "client_ip_hash", "uri_hash", "random_choose",
	) {
		for _, list := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, list %v", fallback, list), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					s := setup{n: 3, list: list, retries: 2, member: `,"max_requests":2`, policy: byCookie + fmt.Sprintf(`,"fallback":{"policy":%q}`, fallback)}.load(t, w)
					for range 10 {
						k := newClient()
						first := k.get(s)
						if first.session != "new" || first.policy != fallback {
							t.Fatalf("%v by %s, %d %s", first, first.policy, first.status, first.reason)
						}
						expect(t, "later", k.get(s), first.backend, "kept")
					}
					// What is full, or refuses, is passed over.
					w.set(func() { w.sick["a:1"], w.slow["b:1"] = true, time.Minute })
					var wg sync.WaitGroup
					for range 12 {
						wg.Go(func() {
							if got := newClient().get(s); got.backend != "b" && got.backend != "c" {
								t.Errorf("%v, %d %s", got, got.status, got.reason)
							}
						})
						synctest.Wait()
					}
					wg.Wait()
				})
			})
		}
	}
}

// On a list, Caddy's checks say who is down.
func TestOnDownOfAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"upstreams":[{"dial":"a:1"},{"dial":"b:1"}],
			"health_checks":{"passive":{"fail_duration":"10s","max_fails":1}},
			"load_balancing":{"retries":1,"selection_policy":{"policy":"sticky"`+byCookie+`}}}`, w.backends(2))
		if err != nil {
			t.Fatal(err)
		}
		s := &site{p, w}
		k := newClient()
		home := k.get(s).backend
		other := map[string]string{"a": "b", "b": "a"}[home]
		w.set(func() { w.sick[home+":1"] = true })
		expect(t, "after the first failure", k.get(s), other, "moved")
		expect(t, "later", k.get(s), other, "kept")
		time.Sleep(11 * time.Second)
		expect(t, "when it is back", k.get(s), other, "kept")
	})
}

// The table outlives a reload, and one that is rejected.
func TestTableOutlivesReloads(t *testing.T) {
	for _, list := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			base := setup{n: 4, list: list, policy: `,"header":"X-Client"`}
			old := base.load(t, w)
			c := newClient()
			c.header.Set("X-Client", "me")
			home := c.get(old).backend
			if _, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"sticky","header":"X-Client","ttl":"1ms"}}}`, nil); err == nil {
				t.Fatal("accepted")
			}
			expect(t, "after a reload that was rejected", c.get(old), home, "kept")
			base.policy += `,"store":{"module":"memory","max_entries":2000},"fallback":{"policy":"p2c"}`
			base.order = []int{2, 0, 3, 1}
			s := base.load(t, w)
			expect(t, "beside the old configuration", c.get(s), home, "kept")
			old.Close()
			expect(t, "after a reload", c.get(s), home, "kept")
			s.Close()
			s = base.load(t, w)
			if got := c.get(s); got.session != "new" {
				t.Errorf("after an end of all: %v", got)
			}
		})
	}
}

// Cookies of a named pool are good for that pool alone, whatever its name; pools
// without names share a scope with each other and with lists.
func TestScopesOfCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		unnamed := setup{unnamed: true}
		sites := map[string]setup{
			"web-a": {name: "web-a"}, "web-b": {name: "web-b"}, "inline-a": {name: "inline-a"}, "inline-b": {name: "inline-b"},
			"inline": {name: "inline"}, "inline-a_1": {name: "inline-a_1"}, "without a name": unnamed, "a list": {list: true},
		}
		for from, one := range sites {
			for to, two := range sites {
				one.n, two.n, one.policy, two.policy = 2, 2, `,"cookie":{"name":"who",`+secret+`}`, `,"cookie":{"name":"who",`+secret+`}`
				s1, s2 := one.load(t, w), two.load(t, w)
				c := newClient()
				c.get(s1)
				got, want := c.get(s2), "new"
				if from == to {
					want = "kept"
				} else if anonymous := func(s setup) bool { return s.unnamed || s.list }; anonymous(one) && anonymous(two) {
					want = "moved" // the ids of a list are its addresses
				}
				if got.session != want {
					t.Errorf("a cookie of %s at %s: %s, want %s", from, to, got.session, want)
				}
				s1.Close()
				s2.Close()
			}
		}
	})
}
