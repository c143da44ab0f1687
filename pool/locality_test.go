// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/discovery"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// zoned returns a list of backends in the zones "here" and "there", of which the names tell.
func zoned(more string, addresses ...string) string {
	var list []string
	for _, a := range addresses {
		zone, _, _ := strings.Cut(a, "-")
		list = append(list, fmt.Sprintf(`{"dial":%q,"zone":%q%s}`, a, zone, more))
	}
	return `"backends":[` + strings.Join(list, ",") + `]`
}

// inZone returns an app whose instance is in a zone of a fleet.
func inZone(t *testing.T, zone string) caddy.ModuleMap {
	return inFleet(t, "a", fmt.Sprintf(`,"zone":%q`, zone))
}

var sixZoned = []string{"here-a:1", "here-b:1", "here-c:1", "there-a:1", "there-b:1", "there-c:1"}

// workers are backends of so many workers each, that take so long for a request; others wait.
func workers(n int, d time.Duration, addresses ...string) lbtest.Backends {
	all := make(lbtest.Backends)
	for _, a := range addresses {
		free := make(chan struct{}, n)
		all[a] = func(req *http.Request) (int, error) {
			select {
			case free <- struct{}{}:
			case <-req.Context().Done():
				return 0, req.Context().Err()
			}
			defer func() { <-free }()
			return lbtest.Latency(d)(req)
		}
	}
	return all
}

// abroad returns the share of requests that were served abroad.
func (c counted) abroad() float64 {
	all, away := 0, 0
	for who, n := range c.served {
		all += n
		if strings.HasPrefix(who, "there") {
			away += n
		}
	}
	return float64(away) / float64(all)
}

// probing is the greatest share of n requests that goes abroad where 3 % do, but for one in 30,000
// times (4 standard deviations).
func probing(n int) float64 { return 0.03 + 4*math.Sqrt(0.03*0.97/float64(n)) }

func loadZoned(t *testing.T, policy, pool string, backends lbtest.Backends) *lbtest.Proxy {
	t.Helper()
	p, err := lbtest.Load(t, inZone(t, "here"), fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":%s},
		"dynamic_upstreams":{"source":"pool","name":"web",%s}}`, policy, pool), backends)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// While the zones are even, each policy keeps all but 3 % of the requests at home; hash policies
// 3 % of the keys.
func TestRequestsStayInTheirZone(t *testing.T) {
	for _, policy := range lbtest.PolicyConfigs() {
		for _, limit := range []string{"", `,"max_requests":50`} {
			t.Run(policy+limit, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := loadZoned(t, policy, zoned(limit, sixZoned...)+`,"locality":{"mode":"prefer"}`, workers(20, 20*time.Millisecond, sixZoned...))
					c := traffic{rate: 200, length: 30 * time.Second, path: func(n int) string { return fmt.Sprint("/", n) }}.send(p)
					if got, most := c.abroad(), probing(c.sent); got > most || got == 0 || c.lost > 0 {
						t.Errorf("%.4f of the requests went abroad, at most %.4f may; %d were lost", got, most, c.lost)
					}
					for who, n := range c.served {
						if strings.HasPrefix(who, "here") && n < c.sent/6 {
							t.Errorf("%s served %d of %d", who, n, c.sent)
						}
					}
				})
			})
		}
	}
}

// A home that gets more than it can take is relieved within 10 seconds, and gets all again once it
// can take it.
func TestOverloadedHomeIsRelieved(t *testing.T) {
	for name, limit := range map[string]string{"in flight": "", "limits": `,"max_requests":1000`} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// Home can take 300 a second, and those abroad 600.
				backends := workers(2, 20*time.Millisecond, sixZoned[:3]...)
				for a, b := range workers(4, 20*time.Millisecond, sixZoned[3:]...) {
					backends[a] = b
				}
				p := loadZoned(t, `{"policy":"least_request"}`, zoned(limit, sixZoned...)+`,"outliers":{"off":true},"locality":{"mode":"prefer"}`, backends)
				c := traffic{rate: 200, length: 20 * time.Second}.send(p)
				if got, most := c.abroad(), probing(c.sent); got > most {
					t.Errorf("before: %.4f went abroad, at most %.4f may", got, most)
				}
				traffic{rate: 600, length: 10 * time.Second}.send(p)
				c = traffic{rate: 600, length: 60 * time.Second}.send(p)
				if got := 1 - c.abroad(); got > 0.55 || got < 0.1 || c.lost > 0 {
					t.Errorf("%.3f stay at home, which can take half; %d were lost", got, c.lost)
				}
				traffic{rate: 200, length: 2 * time.Minute}.send(p)
				c = traffic{rate: 200, length: 20 * time.Second}.send(p)
				if got, most := c.abroad(), probing(c.sent); got > most {
					t.Errorf("afterwards: %.4f went abroad, at most %.4f may", got, most)
				}
			})
		})
	}
}

// Where home is down, those abroad serve alone, and the other way round; also where a zone has a
// single backend. No request is lost once checks have found out.
func TestZonesThatAreDown(t *testing.T) {
	for _, members := range [][]string{sixZoned, {"here-a:1", "there-a:1"}, {"here-a:1", "there-a:1", "there-b:1", "there-c:1"}} {
		t.Run(fmt.Sprint(len(members)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				backends := make(lbtest.Backends)
				for _, a := range members {
					backends[a] = lbtest.Latency(0)
				}
				p := loadZoned(t, `{"policy":"wrr"}`, zoned("", members...)+`,"guard":false,"locality":{"mode":"prefer"},`+check(t, ""), backends)
				for _, down := range []string{"here", "there"} {
					w.set(func() {
						for _, a := range members {
							w.sick[a] = strings.HasPrefix(a, down)
						}
					})
					time.Sleep(3 * time.Second)
					c := traffic{rate: 100, length: 5 * time.Second}.send(p)
					want := 0.0
					if down == "here" {
						want = 1
					}
					if got := c.abroad(); got != want || c.lost > 0 {
						t.Errorf("%s is down: %.3f were served abroad, want %v; %d lost", down, got, want, c.lost)
					}
					shares := pool.Current("web").HomeShares()
					if len(shares) != 1 || shares[0].Home != 1-want {
						t.Errorf("%s is down: shares %+v", down, shares)
					}
				}
			})
		})
	}
}

// Without a zone of its own, an instance has no home.
func TestLocalityNeedsAZone(t *testing.T) {
	for name, apps := range map[string]caddy.ModuleMap{"no fleet": nil, "no zone": inZone(t, "")} {
		_, err := lbtest.Load(t, apps, proxy("wrr", dials("a:1")+`,"locality":{}`), nil)
		if err == nil || !strings.Contains(err.Error(), "write `") || !strings.Contains(err.Error(), "zone <name>") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, bad := range []string{`{"mode":"only"}`, `{"margin":-0.1}`, `{"margin":1.1}`} {
		if _, err := lbtest.Load(t, inZone(t, "here"), proxy("wrr", dials("a:1")+`,"locality":`+bad), nil); err == nil || !strings.Contains(err.Error(), "locality") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

// A tier without backends has no share any more.
func TestLocalityOfTiersThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		found := func(tier int) discovery.Endpoint {
			return discovery.Endpoint{Address: "a:1", Settings: discovery.Settings{Tier: tier, Zone: "here"}}
		}
		r.set(found(0))
		p, err := lbtest.Load(t, inZone(t, "here"), proxy("p2c", `"name":"web","locality":{},`+pushing(t, "")), answering("a:1"))
		if err != nil {
			t.Fatal(err)
		}
		for tier := range 5 {
			r.set(found(tier))
			for range 5 {
				seconds(1)
				_, _ = p.Get()
			}
		}
		if shares := pool.Current("web").HomeShares(); len(shares) != 1 || shares[0].Tier != 4 {
			t.Errorf("shares of %+v, want those of tier 4", shares)
		}
	})
	lbtest.NoLeaks(t)
}
