// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// explained is what a request of the client is said to get.
func (c *client) explained(t *testing.T) pool.Explanation {
	t.Helper()
	all := pool.Current("web").Explainers()
	if len(all) != 1 {
		t.Fatalf("%d policies explain themselves", len(all))
	}
	return all[0](lbtest.Prepare(c.request(), caddy.NewReplacer(), nil))
}

// What a request is said to get is what it then gets, for new sessions and others, and
// while backends are drained, taken out, weighed, down and back. To ask changes nothing.
func TestExplainAgrees(t *testing.T) {
	for _, k := range kinds {
		for _, rebalance := range []string{"", `,"rebalance":1.1`} {
			t.Run(fmt.Sprint(k.name, rebalance), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					s := setup{n: 4, pool: check(t), policy: k.policy + rebalance}.load(t, w)
					time.Sleep(time.Second / 2)
					rng := rand.New(rand.NewPCG(1, 2))
					clients := clientsOf(60, k.client)
					moved := 0
					for step := range 1500 {
						if step%50 == 0 {
							time.Sleep(3 * time.Second)
							address := fmt.Sprintf("%c:1", 'a'+rng.IntN(4))
							switch rng.IntN(5) {
							case 0, 1:
								s.change(address, func(b *backend.Backend) { b.SetAdmin(health.Admin(rng.IntN(3))) })
							case 2:
								s.change(address, func(b *backend.Backend) { b.SetWeight(&health.AgentWeight{Value: float64(rng.IntN(4))}) })
							case 3:
								w.set(func() { w.sick[address] = true })
							case 4:
								w.set(func() { clear(w.sick) })
							}
							time.Sleep(2 * time.Second) // until that is known
						}
						c := clients[rng.IntN(len(clients))]
						e := c.explained(t)
						if again := c.explained(t); again.Backend != e.Backend {
							t.Fatalf("step %d: %s, and when asked again %s", step, e.Why, again.Why)
						}
						got := c.get(s)
						if got.session == "moved" {
							moved++
						}
						want := ""
						if e.Backend != nil {
							want = string(e.Backend.Address[0])
						}
						if e.Policy != "sticky" || e.Why == "" || len(e.Candidates) != 4 || got.backend != want {
							t.Fatalf("step %d: said to get %q (%s), and got %v", step, want, e.Why, got)
						}
					}
					if moved == 0 {
						t.Error("no session has moved")
					}
				})
			})
		}
	}
}
