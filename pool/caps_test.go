// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"maps"
	weakrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// anyPolicy are all that pick for a request of whatever kind, those of Caddy too.
var anyPolicy = append([]string{
	`{"policy":"round_robin"}`, `{"policy":"least_conn"}`, `{"policy":"uri_hash"}`,
}, lbtest.PolicyConfigs()...)

// capped returns the configuration of a proxy whose pool "web" has these options,
// over metered backends.
func capped(t *testing.T, policy string, limit int, pool string) string {
	return fmt.Sprintf(`{"transport":{"protocol":"metered","meter":%q},
		"load_balancing":{"retries":2,"selection_policy":%s},
		"handle_response":[{"match":{"status_code":[200]},"routes":[{"handle":[{"handler":"panicky"},{"handler":"copy_response"}]}]}],
		"dynamic_upstreams":{"source":"pool","name":"web","max_requests":%d,"outliers":{"consecutive_errors":0,"error_ratio":0},%s}}`,
		t.Name(), policy, limit, pool)
}

// anyFare is one of all kinds.
func anyFare(r *weakrand.Rand) *fare {
	ms := func(n int) time.Duration { return time.Duration(r.IntN(n)) * time.Millisecond }
	f := &fare{header: ms(20)}
	if r.IntN(2) == 0 {
		f.body = ms(30)
	}
	switch r.IntN(12) {
	case 0:
		f.fails = "refused"
	case 1:
		f.fails = "reset"
	case 2:
		f.upgrade, f.body = true, ms(60)+1
	case 3:
		f.panics, f.body = "header", ms(30)+1
	case 4:
		f.panics, f.body = "body", ms(30)+1
	case 5:
		f.panics, f.body = "route", ms(30)+1
	case 6, 7:
		f.client = ms(60) + 1
	}
	return f
}

// At three times the load that the limits allow, with retries, upgrades, panics,
// clients that leave, and reloads that change the limit, the queue and the policy,
// no backend ever has one request more than the limit, or around a reload the larger
// of the two, and in the end nothing is taken.
func TestLimitIsNeverExceeded(t *testing.T) {
	for i, policy := range anyPolicy {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, random := newMeter(t), weakrand.New(weakrand.NewPCG(uint64(i), 5))
				load := func() (p *lbtest.Proxy, limit int, done func()) {
					other, queue := policy, ""
					if random.IntN(3) == 0 {
						other = anyPolicy[random.IntN(len(anyPolicy))]
					}
					if random.IntN(3) > 0 {
						queue = fmt.Sprintf(`"queue":{"size":%d,"timeout":"%dms"},`, 1+random.IntN(50), 1+random.IntN(100))
					}
					limit = 3 + random.IntN(5)
					done = m.use(limit)
					p, err := lbtest.Load(t, nil, capped(t, other, limit, queue+dials("a:1", "b:1", "c:1")), nil)
					if err != nil {
						t.Fatal(err)
					}
					return p, limit, done
				}
				p, limit, done := load()
				var wg sync.WaitGroup
				n := 10_000 / len(anyPolicy)
				for k := range n {
					if k%150 == 149 {
						old, end := p, done
						p, limit, done = load()
						overlap := time.Duration(random.IntN(20)) * time.Millisecond
						wg.Go(func() { time.Sleep(overlap); old.Close(); end() })
					}
					f, path, proxy := anyFare(random), uris(random.IntN(50)), p
					answered := m.use(limit)
					f.limit = limit
					wg.Go(func() { _, _, _ = request(proxy, f, path); answered() })
					// 3 backends with 5 each, for 25 ms: 600 a second.
					time.Sleep(time.Second / 1800)
				}
				wg.Wait()
				synctest.Wait()
				for _, s := range m.over {
					t.Error(s)
				}
				if m.sent < n/6 {
					t.Errorf("only %d of %d were sent", m.sent, n)
				}
				expectNothingTaken(t, "web")
			})
		})
	}
	lbtest.NoLeaks(t)
}

// An agent says once a second how many requests its backend may have, at most 6. From
// then on none is sent that is one more.
func TestLimitOfAgentIsNeverExceeded(t *testing.T) {
	for _, policy := range anyPolicy {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				said, before, at := make(map[string]int), make(map[string]int), make(map[string]time.Time)
				random := weakrand.New(weakrand.NewPCG(1, 2))
				agents.Store(t.Name(), func(address string) (health.Instruction, error) {
					mu.Lock()
					defer mu.Unlock()
					n := 1 + random.IntN(8)
					before[address], said[address], at[address] = said[address], n, time.Now()
					return health.Instruction{MaxRequests: &n}, nil
				})
				m := newMeter(t)
				m.limit = func(address string) int {
					mu.Lock()
					defer mu.Unlock()
					if at[address].Equal(time.Now()) { // some were selected before
						return min(6, max(before[address], said[address]))
					}
					return min(6, said[address])
				}
				p, err := lbtest.Load(t, nil, capped(t, policy, 6,
					`"queue":{"size":20,"timeout":"100ms"},`+dials("a:1", "b:1", "c:1")+fmt.Sprintf(`,"health":[{"check":"fakeagent","world":%q}]`, t.Name())), nil)
				if err != nil {
					t.Fatal(err)
				}
				seconds(0.5)
				var wg sync.WaitGroup
				for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(time.Second / 300) {
					wg.Go(func() { _, _, _ = request(p, &fare{header: 20 * ms, body: 20 * ms}, uris(int(time.Since(began)/ms))) })
				}
				wg.Wait()
				synctest.Wait()
				for _, s := range m.over {
					t.Error(s)
				}
				// 300 a second for 5 s, and 3 x 4 at a time for 40 ms take as many.
				if m.sent < 500 {
					t.Errorf("only %d were sent", m.sent)
				}
				expectNothingTaken(t, "web")
			})
		})
	}
}

// Where health is ignored, limits are not.
func TestLimitHoldsInPanic(t *testing.T) {
	for _, policy := range anyPolicy {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.sick["a:1"], w.sick["b:1"] = true, true
			p, m := loadCapped(t, policy, 2, `"guard":false,"panic":1,`+dials("a:1", "b:1")+","+check(t, ""))
			seconds(0.5)
			l := newLine()
			for range 10 {
				l.send(p, 10*ms, 0)
			}
			l.wg.Wait()
			if m.peak["a:1"] != 2 || m.peak["b:1"] != 2 || len(m.over) > 0 {
				t.Errorf("%s: had %v at a time, want 2", policy, m.peak)
			}
			expectNothingTaken(t, "web")
		})
	}
}

// What a pool, or a backend, says is what counts, and a backend's 0 is no limit.
// Those that are discovered have the pool's.
func TestLimitOfPoolAndBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"d:1"}
		p, m := loadCapped(t, `{"policy":"least_request"}`, 2, fmt.Sprintf(`"sources":[{"source":"fake","world":%q}],
			"backends":[{"dial":"a:1"},{"dial":"b:1","max_requests":3},{"dial":"c:1","max_requests":0}]`, t.Name()))
		m.limit = func(string) int { return 100 }
		seconds(0.5)
		l := newLine()
		for range 40 {
			l.send(p, 10*ms, 0)
		}
		l.wg.Wait()
		if want := map[string]int{"a:1": 2, "b:1": 3, "c:1": 40 - 2 - 3 - 2, "d:1": 2}; !maps.Equal(m.peak, want) {
			t.Errorf("had %v at a time, want %v", m.peak, want)
		}
	})
}

// The next tier serves what is more than the limits of the first, before anybody
// waits.
func TestLimitSpillsToNextTier(t *testing.T) {
	for _, policy := range anyPolicy {
		synctest.Test(t, func(t *testing.T) {
			p, m := loadCapped(t, policy, 2, `"queue":{"size":10,"timeout":"1s"},"backends":[{"dial":"a:1"},{"dial":"b:1","backup":true}]`)
			l := newLine()
			for range 6 {
				l.send(p, 10*ms, 0)
			}
			l.wg.Wait()
			for i, a := range l.all {
				if want := []string{"a:1", "a:1", "b:1", "b:1"}; i < 4 && a.backend != want[i] || a.status != 200 {
					t.Errorf("%s: request %d is served by %s with status %d", policy, i, a.backend, a.status)
				}
			}
			if len(m.over) > 0 {
				t.Error(m.over)
			}
		})
	}
}

// With a budget of 10 %, 100 requests a second of which a third meets a backend that
// fails may have 10 retries a second and no more, in any 10 s. The others end with the
// error of their attempt.
func TestRetryBudget(t *testing.T) {
	for _, policy := range []string{`{"policy":"wrr"}`, `{"policy":"round_robin"}`} { // of Ballast and of Caddy
		synctest.Test(t, func(t *testing.T) {
			backends := three(lbtest.Refused)
			p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"retries":3,"selection_policy":`+policy+`},
				"dynamic_upstreams":{"source":"pool","name":"web","retry_budget":{"ratio":0.1,"min":0},
				"outliers":{"consecutive_errors":0,"error_ratio":0},`+dials("a:1", "b:1", "c:1")+`}}`, backends)
			if err != nil {
				t.Fatal(err)
			}
			var retried, lost []time.Duration
			began := time.Now()
			for range 3000 {
				r := p.Serve(newRequest())
				if tries := r.Placeholder("tries"); tries == "2" {
					retried = append(retried, time.Since(began))
				}
				if r.Err != nil {
					lost = append(lost, time.Since(began))
					if reason := r.Placeholder("reason"); reason != string(pool.ReasonBudget) || !strings.Contains(r.Err.Error(), "502") {
						t.Fatalf("%s: lost with %v, reason %q", policy, r.Err, reason)
					}
				}
				time.Sleep(10 * ms)
			}
			for i, at := range retried {
				// As many as in 10 s before this one and with it, at most 10 % of 1,000.
				if i >= 100 && at-retried[i-100] < 10*time.Second {
					t.Fatalf("%s: 101 retries in %v", policy, at-retried[i-100])
				}
			}
			// Half of the budget's steps more and less than 10 s: 97.5 % of 300, and the
			// requests of the first 10 s give less.
			if len(retried) < 250 || len(lost) < 500 {
				t.Errorf("%s: %d are retried and %d lost", policy, len(retried), len(lost))
			}
		})
	}
}

// What is wrong in JSON is said as in a Caddyfile.
func TestLimitsInJSON(t *testing.T) {
	for options, want := range map[string]string{
		`"max_requests":-1`:                                               "max_requests must be a whole number from 0 to 2147483647, got -1",
		`"backends":[{"dial":"b:1","max_requests":-1}]`:                   "backend b:1: max_requests must be a whole number from 0 to 2147483647, got -1",
		`"max_requests":1,"queue":{}`:                                     "queue's size must be a whole number from 1 to 1000000, got 0",
		`"max_requests":1,"queue":{"size":1000001}`:                       "queue's size must be a whole number from 1 to 1000000, got 1000001",
		`"max_requests":1,"queue":{"size":1,"timeout":-1}`:                "queue's timeout must be a duration from",
		`"queue":{"size":1}`:                                              "queue has no effect, since no backend has a limit; write `max_requests <n>`",
		`"queue":{"size":1},"health":[{"check":"tcp"}]`:                   "queue has no effect",
		`"retry_budget":{"ratio":1.1}`:                                    "retry_budget must be a ratio from 0% to 100%, got 1.1; in JSON, 34% is 0.34",
		`"retry_budget":{"ratio":0.1,"min":-1}`:                           "retry_budget's min must be a whole number from 0 to 1000000, got -1",
		`"queue":{"size":1},"backends":[{"dial":"b:1","max_requests":1}]`: "",
		`"queue":{"size":1},"health":[{"check":"agent","port":99}]`:       "",
		`"max_requests":2147483647,"queue":{"size":1000000}`:              "",
		`"retry_budget":{}`:                                               "",
	} {
		if !strings.Contains(options, `"backends"`) {
			options += "," + dials("127.0.0.1:1") // the check of the agent dials it
		}
		synctest.Test(t, func(t *testing.T) {
			_, err := lbtest.Load(t, nil, proxy("", options), abc)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", options, err, want)
			}
		})
	}
}
