// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// deterministic are the policies without randomness: an explanation names the backend that the
// request gets. For others the test compares shares.
var deterministic = map[string]bool{"wrr": true, "ring_hash": true, "maglev": true, "rendezvous": true}

// client sends requests of one client.
type client struct {
	t       *testing.T
	sel     reverseproxy.Selector
	address string
}

func (c *client) request(ctx context.Context) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://lbtest/", nil).WithContext(ctx)
	r.RemoteAddr = c.address
	return lbtest.Prepare(r, caddy.NewReplacer(), httptest.NewRecorder())
}

// pick selects a backend for a request, ends the request, and returns the address.
func (c *client) pick() string {
	ctx, cancel := context.WithCancel(context.Background())
	u := c.sel.Select(nil, c.request(ctx), nil)
	cancel()
	synctest.Wait() // its slot or trial is released
	if u == nil {
		return ""
	}
	return u.Dial
}

// randomPool is a pool whose backends differ in all criteria of policies.
func randomPool(rng *rand.Rand) *pool.Pool {
	p := pool.NewPool("test")
	p.SetOptions(pool.Options{Outliers: &outlier.Rules{EjectFor: time.Hour, MaxEjectFor: time.Hour, MaxEjected: 1}})
	var members []*backend.Backend
	for i := range 2 + rng.IntN(6) {
		s := backend.Endpoint{Address: fmt.Sprint("u", i), Settings: backend.Settings{ID: fmt.Sprint("u", i), Weight: new(rng.IntN(4)), Tier: rng.IntN(5) / 4}}
		if rng.IntN(4) == 0 {
			s.MaxRequests = new(1 + rng.IntN(3))
		}
		v := health.NewStatus(rng.IntN(6) > 0)
		b := backend.New(p.Name, s, backend.NewState(), []*health.Status{v}, nil)
		if rng.IntN(6) == 0 {
			b.SetAdmin(health.Admin(1 + rng.IntN(2)))
		}
		members = append(members, b)
	}
	members[0].SetAdmin(health.Ready)
	members[0].Weight = new(max(1, *members[0].Weight))
	members[0].MaxRequests = nil
	p.SetMembers(pool.NewMembers(members))
	for _, b := range members { // latencies and taken slots
		for range rng.IntN(4) {
			a := &backend.Attempt{Start: clock.Now(), Load: 1, FirstByte: time.Duration(1+rng.IntN(50)) * time.Millisecond, Status: 200}
			b.Begin(a)
			b.Answer(a)
			b.End(a, a.Start+a.FirstByte, nil, false)
		}
		for range rng.IntN(3) {
			b.Begin(new(backend.Attempt))
		}
	}
	if rng.IntN(5) == 0 && len(members) > 2 {
		p.Eject(members[1], "bad", false)
		if rng.IntN(2) == 0 {
			members[1].ExpireNow(clock.Now())
			members[1].Expire(clock.Now() + time.Second)
		}
	}
	p.Publish()
	return p
}

// For each policy, an explanation agrees with later picks: exactly without randomness, otherwise
// within 5 standard deviations of the difference of two shares of as many picks each. It is renewed
// every 50 picks, since prequal learns from picks, or for each pick where only the tier is random,
// since turns advance.
func TestExplainAgreesWithWhatHappens(t *testing.T) {
	const picks = 1000
	rounds := 25
	if lbtest.RaceDetector {
		rounds = 5
	}
	for name, newPolicy := range policies(t) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // so that no average decays during the test
				rng := rand.New(rand.NewPCG(1, 2))
				for round := range rounds {
					p := randomPool(rng)
					c := &client{t, inPool(t, newPolicy, "", p), fmt.Sprintf("10.0.%d.%d:1", rng.IntN(256), rng.IntN(256))}
					explain := func() pool.Explanation { return p.Explainers()[0](c.request(t.Context())) }
					e := explain()
					switch {
					case p.View().HalfOpen: // a trial is claimed once
						if got := c.pick(); (got == "") != (e.Backend == nil) || got != "" && oddsOf(e, got) == 0 {
							t.Errorf("round %d: %q, explained %+v", round, got, e)
						}
					case deterministic[name] && !p.View().SpillsOver():
						for range 3 * picks / 100 {
							e, got, want := explain(), c.pick(), ""
							if e.Backend != nil {
								want = e.Backend.Address
							}
							if got != want || want != "" && e.Odds != 1 {
								t.Fatalf("round %d: explained %q with odds %v (%s), and got %q", round, want, e.Odds, e.Why, got)
							}
						}
					case deterministic[name]: // except for the tier
						agree(t, c, explain, picks/4, 1)
					default:
						agree(t, c, explain, picks, 50)
					}
				}
			})
		})
	}
}

func agree(t *testing.T, c *client, explain func() pool.Explanation, picks, every int) {
	t.Helper()
	for range 100 { // so that prequal has samples
		c.pick()
	}
	count, odds := make(map[string]float64), make(map[string]float64)
	for i := range picks {
		if i%every == 0 {
			e := explain()
			for _, one := range e.Candidates {
				odds[one.Backend.Address] += one.Odds * float64(every) / float64(picks)
				if (one.Odds > 0) != (one.PassedOver == "") || one.Odds > 0 && len(one.Score) == 0 {
					t.Errorf("%+v", one)
				}
			}
			if e.Backend == nil {
				odds[""] += float64(every) / float64(picks)
			}
		}
		count[c.pick()] += 1 / float64(picks)
	}
	for address := range odds {
		p := (count[address] + odds[address]) / 2
		if math.Abs(count[address]-odds[address]) > 5*math.Sqrt(2*p*(1-p)/float64(picks))+1/float64(picks) {
			t.Errorf("%q gets %.3f, explained %.3f", address, count[address], odds[address])
		}
	}
}

func oddsOf(e pool.Explanation, address string) float64 {
	for _, c := range e.Candidates {
		if c.Backend.Address == address {
			return c.Odds
		}
	}
	return 0
}

// An explanation advances no turn, takes no slot, claims no trial, and adds no samples to prequal.
func TestExplainChangesNothing(t *testing.T) {
	for name, newPolicy := range policies(t) {
		p, _ := testPool(1, 1, 1)
		sel := inPool(t, newPolicy, "", p)
		before := learned(sel)
		e := p.Explainers()[0](request())
		if e.Policy != name || e.Backend == nil || e.Why == "" || len(e.Candidates) != 3 {
			t.Errorf("%s: %+v", name, e)
		}
		for _, b := range p.View().Members.All {
			if b.Taken() != 0 || b.InFlight() != 0 {
				t.Errorf("%s: %s has a slot taken", name, b.ID)
			}
		}
		if after := learned(sel); after != before {
			t.Errorf("%s: %d became %d", name, before, after)
		}
		sel.Select(nil, request(), nil)
		// The other policies have no state that a pick changes.
		if moves := learned(sel) != before; moves != slices.Contains([]string{"wrr", "p2c", "peak_ewma", "prequal", "least_time"}, name) {
			t.Errorf("%s: after a pick the state is %d", name, learned(sel))
		}
	}
}

// learned returns the state of a policy that picks change.
func learned(sel reverseproxy.Selector) uint64 {
	switch p := sel.(type) {
	case *WRR:
		return p.derived.Load().pickers[0].(*wrrPicker).counter.Load()
	case *P2C:
		return p.derived.Load().pickers[0].(*p2cPicker).rotating.counter.Load()
	case *PeakEWMA:
		return p.derived.Load().pickers[0].(*peakEWMAPicker).rotating.counter.Load()
	case *LeastTime:
		return p.derived.Load().pickers[0].(*leastTimePicker).counter.Load()
	case *Prequal:
		h := p.derived.Load().pickers[0].(*prequalPicker)
		return h.rotating.counter.Load() + uint64(h.count.Load())<<32
	}
	return 0
}

// With on_full wait an explanation names the full backend that the request would wait for,
// otherwise the one that it would spill to.
func TestExplainOfAFullBackend(t *testing.T) {
	for _, onFull := range []string{onSpill, onWait} {
		synctest.Test(t, func(t *testing.T) {
			p := pool.NewPool("test")
			p.SetOptions(pool.Options{Queue: pool.QueueRules{Size: 1, Timeout: time.Second}})
			var members []*backend.Backend
			for i := range 3 {
				name := fmt.Sprint("u", i)
				members = append(members, backend.New(p.Name, backend.Endpoint{Address: name, Settings: backend.Settings{ID: name, Weight: new(1), MaxRequests: new(1)}}, backend.NewState(), nil, nil))
			}
			p.SetMembers(pool.NewMembers(members))
			c := &client{t, inPool(t, policies(t)["rendezvous"], "rendezvous client_ip {\n on_full "+onFull+"\n}", p), "10.0.0.1:1"}
			home := p.Find(c.pick())
			home.Begin(new(backend.Attempt))
			e := p.Explainers()[0](c.request(t.Context()))
			if (e.Backend == home) != (onFull == onWait) || e.Odds != 1 || strings.Contains(e.Why, "waits") != (onFull == onWait) {
				t.Errorf("%s: %s belongs to the key, explained %s: %s", onFull, home.ID, e.Backend.ID, e.Why)
			}
		})
	}
}
