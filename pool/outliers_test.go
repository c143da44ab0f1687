// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	weakrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// sometimes is a backend that answers with a status so often, and else with 200.
func sometimes(share float64, code int) lbtest.Answerer {
	return func(req *http.Request) (int, error) {
		_, _ = lbtest.Latency(fast)(req)
		if weakrand.Float64() < share {
			return code, nil
		}
		return http.StatusOK, nil
	}
}

// One of three goes bad, each in its way, at 500 requests a second with one
// retry, of a 503 too: after the first 2 s fewer than one request in 1,000 is
// lost. A request is lost only if both of its attempts meet the bad backend,
// which a retry does not while another is left.
func TestSimulationBadBackendLosesNothing(t *testing.T) {
	lbtest.Simulation(t)
	for name, bad := range map[string]lbtest.Answerer{
		"30 % 503s": sometimes(0.3, http.StatusServiceUnavailable),
		"503s":      status(http.StatusServiceUnavailable),
		"hangs":     hang,
		"refuses":   lbtest.Refused,
	} {
		for _, policy := range []string{"wrr", "p2c", "peak_ewma", "round_robin"} { // one of each kind
			t.Run(name+" with "+policy, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := pooled(t, fmt.Sprintf(`{"policy":%q}`, policy),
						`,"retries":1,"retry_match":[{"expression":"{http.reverse_proxy.status_code} == 503"}]`, "",
						three(after(5*time.Second, lbtest.Latency(fast), bad)))
					got := traffic{rate: 500, length: 30 * time.Second, patience: 5 * time.Second}.send(p)
					if lost := got.lostSince(7 * time.Second); float64(lost) > 0.001*500*23 {
						t.Errorf("%d requests were lost after the first 2 s", lost)
					}
				})
			})
		}
	}
}

// One error less than the threshold ejects nobody, and a success between starts
// the count again. The status 500 is no error by default.
func TestConsecutiveErrors(t *testing.T) {
	for _, c := range []struct {
		answers string // of the one backend that is asked, by the first digit; r refuses
		want    int
	}{
		{"55552", 0}, {"55555", 1}, {"555525555", 0}, {"rrrr2", 0}, {"rrrrr", 1}, {"5r5r5", 1}, {"44444444", 0}, {"0000000", 0},
	} {
		t.Run(c.answers, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				next := func(req *http.Request) (int, error) {
					answer := c.answers[min(n, len(c.answers)-1)]
					n++
					switch answer {
					case 'r':
						return lbtest.Refused(req)
					case '5':
						return http.StatusServiceUnavailable, nil
					case '0':
						return http.StatusInternalServerError, nil
					case '4':
						return http.StatusNotFound, nil
					}
					return http.StatusOK, nil
				}
				p := pooled(t, `{"policy":"first"}`, "", "", lbtest.Backends{"a:1": next, "b:1": lbtest.Latency(0), "c:1": lbtest.Latency(0)})
				seen := events(t, p)
				for range c.answers {
					_, _ = p.Get()
				}
				seconds(0.3)
				if got := count(seen(), "backend_ejected"); got != c.want {
					t.Errorf("%d ejections: %v, want %d", got, seen(), c.want)
				}
			})
		})
	}
}

// After 30 s one request is a trial, and only one, however many come; it
// succeeds, and the backend serves again.
func TestSimulationTrial(t *testing.T) {
	lbtest.Simulation(t)
	for _, policy := range append(lbtest.KeylessPolicies(), "round_robin", "random") {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, bad := 0, true
				a := func(req *http.Request) (int, error) {
					asked++
					if bad {
						return http.StatusBadGateway, nil
					}
					return lbtest.Latency(time.Second)(req)
				}
				p := pooled(t, fmt.Sprintf(`{"policy":%q}`, policy), "", `"outliers":{"consecutive_errors":1}`, three(a))
				seen := events(t, p)
				traffic{rate: 100, length: 500 * time.Millisecond}.send(p)
				if n := count(seen(), "backend_ejected"); n != 1 {
					t.Fatalf("%d ejections: %v", n, seen())
				}
				bad = false
				traffic{rate: 100, length: 29 * time.Second}.send(p)
				before := asked
				// It is tried within a second of its time, and takes a second:
				// until then nobody else is sent there.
				most := 0
				for range 60 {
					traffic{rate: 200, length: 100 * time.Millisecond}.send(p)
					if count(seen(), "backend_returned") == 0 {
						most = asked - before
					}
				}
				if most > 1 {
					t.Errorf("%d requests were sent before the trial had succeeded", most)
				}
				if n := count(seen(), "backend_returned"); n != 1 {
					t.Fatalf("it has not returned: %v", seen())
				}
				traffic{rate: 100, length: time.Second}.send(p)
				// Policies that go by latency may avoid who took so long.
				if asked-before < 2 && !slices.Contains(lbtest.Policies(lbtest.ByLatency), policy) {
					t.Error("it gets no requests")
				}
			})
		})
	}
}

// Each ejection soon after another lasts 30 s longer, at most 5 minutes; clean
// intervals take that back.
func TestSimulationEjectionsGrowAndDecay(t *testing.T) {
	lbtest.Simulation(t)
	synctest.Test(t, func(t *testing.T) {
		bad := true
		p := pooled(t, wrr, oneRetry, "", three(func(req *http.Request) (int, error) {
			if bad {
				return lbtest.Refused(req)
			}
			return lbtest.Latency(fast)(req)
		}))
		seen := events(t, p)
		began := time.Now()
		var at []time.Duration
		for n := 0; time.Since(began) < 25*time.Minute; {
			traffic{rate: 20, length: 500 * time.Millisecond}.send(p)
			if now := count(seen(), "backend_ejected"); now > n {
				n, at = now, append(at, time.Since(began).Round(time.Second))
			}
		}
		var gaps []time.Duration
		for i := range at[1:] {
			gaps = append(gaps, (at[i+1] - at[i]).Round(10*time.Second))
		}
		second := time.Second
		want := []time.Duration{30 * second, 60 * second, 90 * second, 120 * second, 150 * second, 180 * second, 210 * second, 240 * second, 270 * second}
		if len(gaps) < len(want) || !slices.Equal(gaps[:len(want)], want) {
			t.Errorf("from one ejection to the next it took %v, want %v", gaps, want)
		}
		bad = false
		traffic{rate: 20, length: 5*time.Minute + 10*time.Minute}.send(p) // ends this one, and 60 clean intervals of 10 s
		bad = true
		before := len(seen())
		traffic{rate: 20, length: 50 * time.Second}.send(p)
		if n := count(seen()[before:], "backend_ejected"); n != 2 {
			t.Errorf("%d ejections in 50 s, want 2, the first of 30 s: %v", n, seen()[before:])
		}
	})
}

// At least 85 % of 50 requests of an interval: neither 84 % of them, nor all of
// 49, eject.
func TestErrorRatio(t *testing.T) {
	for _, c := range []struct {
		requests, errors int
		want             int
	}{{100, 85, 1}, {100, 84, 0}, {50, 50, 1}, {49, 49, 0}} {
		t.Run(fmt.Sprint(c.errors, " of ", c.requests), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, counting := 0, false
				a := func(*http.Request) (int, error) {
					if counting {
						if n++; n <= c.errors {
							return http.StatusServiceUnavailable, nil
						}
					}
					return http.StatusOK, nil
				}
				p := pooled(t, `{"policy":"first"}`, "", `"outliers":{"consecutive_errors":0}`,
					lbtest.Backends{"a:1": a, "b:1": lbtest.Latency(0), "c:1": lbtest.Latency(0)})
				seen := events(t, p)
				seconds(10.5) // into the second interval
				_, _ = p.Get()
				seconds(0.1)
				counting = true
				for range c.requests {
					_, _ = p.Get()
				}
				counting = false
				seconds(12) // of no traffic
				if got := count(seen(), "backend_ejected"); got != c.want {
					t.Errorf("%d ejections: %v, want %d", got, seen(), c.want)
				}
			})
		})
	}
}

// A backend slower than 3 times the median is ejected, one that is as slow as
// that is not; with two backends there is no median, and it is off by default.
// Backends that send the header at once and then work differ in nothing but the
// time to the body.
func TestLatency(t *testing.T) {
	const by3, byBody = `,"latency":3`, `,"latency":3,"latency_by":"body"`
	for name, c := range map[string]struct {
		option  string
		answers func(time.Duration) lbtest.Answerer
		slow    time.Duration
		want    int
	}{
		"slower":                 {by3, lbtest.Latency, 40 * time.Millisecond, 1},
		"just as slow":           {by3, lbtest.Latency, 30 * time.Millisecond, 0},
		"off":                    {``, lbtest.Latency, time.Second, 0},
		"too few asked":          {by3 + `,"min_requests":10000`, lbtest.Latency, time.Second, 0},
		"a late body, by header": {by3, lbtest.LateBody, time.Second, 0},
		"a late body":            {byBody, lbtest.LateBody, 40 * time.Millisecond, 1},
		"a body that is as late": {byBody, lbtest.LateBody, 30 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pooled(t, wrr, "", `"outliers":{"stall":0`+c.option+`}`, lbtest.Backends{
					"a:1": c.answers(c.slow), "b:1": c.answers(10 * time.Millisecond), "c:1": lbtest.Latency(10 * time.Millisecond)})
				seen := events(t, p)
				traffic{rate: 100, length: 25 * time.Second}.send(p)
				if got := count(seen(), "backend_ejected"); got != c.want {
					t.Errorf("%d ejections: %v, want %d", got, seen(), c.want)
				}
				if c.want > 0 && !strings.Contains(seen()[0], "the pool's median is 10ms") {
					t.Errorf("the event says %v", seen())
				}
			})
		})
	}
}

// Policies tell such backends apart by the body only. By the header all three have a third of the
// requests each; half of that is the bound, since the order of equals is random. By the body the
// slow one has its first request, and some at random before its answer is known.
func TestPoliciesByBody(t *testing.T) {
	const sent = 300
	for policy, byBody := range map[string]bool{
		`{"policy":"least_time"}`: false, `{"policy":"least_time","by":"body"}`: true,
		`{"policy":"peak_ewma"}`: false, `{"policy":"peak_ewma","by":"body"}`: true,
	} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pooled(t, policy, "", "", lbtest.Backends{
					"a:1": lbtest.LateBody(100 * time.Millisecond), "b:1": lbtest.LateBody(10 * time.Millisecond), "c:1": lbtest.LateBody(10 * time.Millisecond)})
				served := make(map[string]int)
				for range sent {
					address, err := p.Get()
					if err != nil {
						t.Fatal(err)
					}
					served[address]++
				}
				if slow := served["a:1"]; byBody && (slow < 1 || slow > sent/30) || !byBody && slow < sent/6 {
					t.Errorf("%d of %d requests went to the slow one: %v", slow, sent, served)
				}
			})
		})
	}
}

// When all refuse, half of a pool is ejected, at least one, and never the last.
func TestMaxEjected(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 1, 3: 1, 4: 2, 10: 5, 11: 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backends := make(lbtest.Backends)
				var addresses []string
				for i := range n {
					addresses = append(addresses, fmt.Sprintf("b%d:1", i))
					backends[addresses[i]] = lbtest.Refused
				}
				p, err := lbtest.Load(t, nil, proxy("wrr", dials(addresses...)), backends)
				if err != nil {
					t.Fatal(err)
				}
				seen := events(t, p)
				traffic{rate: 100, length: 20 * time.Second}.send(p)
				if got := count(seen(), "backend_ejected"); got != want {
					t.Errorf("%d of %d are ejected, want %d", got, n, want)
				}
			})
		})
	}
}

// With outliers turned off by a reload, nobody is ejected any longer.
func TestOutliersTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backends := three(after(time.Second, lbtest.Refused, lbtest.Latency(fast)))
		p := pooled(t, wrr, oneRetry, "", backends)
		if got := (traffic{rate: 50, length: 3 * time.Second}).send(p); got.served["a:1"] > 0 {
			t.Fatalf("not ejected: %v", got.served)
		}
		next := pooled(t, wrr, oneRetry, `"outliers":{"off":true}`, backends)
		p.Close()
		expectShare(t, traffic{rate: 60, length: 3 * time.Second}.send(next), 0.32, 0.35)
	})
}

// What has passed its trial is one of many again, at once.
func TestReturnedIsOneOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooled(t, wrr, oneRetry, `"outliers":{"eject_for":"2s"}`, three(after(time.Second, lbtest.Refused, lbtest.Latency(0))))
		seen := events(t, p)
		traffic{rate: 50, length: time.Second}.send(p)
		for range 300 {
			if count(seen(), "backend_ejected") == 0 {
				t.Fatal("not ejected")
			}
			before := count(seen(), "backend_returned")
			if got := served(t, p, 1); got["a:1"] > 0 && before == 0 {
				break // the trial
			}
			seconds(0.01)
		}
		if got := served(t, p, 60); got["a:1"] < 18 || got["a:1"] > 22 {
			t.Errorf("served by %v", got)
		}
	})
}

// A backend that was killed is ejected, and down. When its checks have seen it come
// back it is tried at once, and need not wait for the 30 s to pass.
func TestRecoveredIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		dead := false
		p := pooled(t, wrr, oneRetry, check(t, ""), three(func(req *http.Request) (int, error) {
			if dead {
				return lbtest.Refused(req)
			}
			return lbtest.Latency(0)(req)
		}))
		seen := events(t, p)
		traffic{rate: 100, length: time.Second}.send(p)
		dead = true
		w.set(func() { w.sick["a:1"] = true })
		traffic{rate: 100, length: 3 * time.Second}.send(p)
		if count(seen(), "backend_down") != 1 {
			t.Fatalf("events %v", seen())
		}
		dead = false
		w.set(func() { delete(w.sick, "a:1") })
		traffic{rate: 100, length: 2500 * time.Millisecond}.send(p) // two passes
		expectShare(t, traffic{rate: 90, length: time.Second}.send(p), 0.3, 0.36)
	})
}

// A restart of a second, in which every connection is refused, costs no 30 s: two
// probes that pass after the ejection make the trial due, though none has failed. So
// it is where connections that were open break first. Errors of a backend that is
// there, and probes of none, change nothing.
func TestRestartIsNoLongEjection(t *testing.T) {
	reset := func(*http.Request) (int, error) { return 0, syscall.ECONNRESET }
	for name, c := range map[string]struct {
		fails  []lbtest.Answerer // one after the other, and the last ones again
		checks bool
		rules  string
		back   time.Duration // after the restart
	}{
		"refused":            {[]lbtest.Answerer{lbtest.Refused}, true, "", 3 * time.Second},
		"reset, then refuse": {[]lbtest.Answerer{reset, reset, lbtest.Refused}, true, "", 3 * time.Second},
		"by ratio":           {[]lbtest.Answerer{lbtest.Refused}, true, `,"outliers":{"consecutive_errors":0,"interval":"1s","min_requests":10,"error_ratio":0.5}`, 4 * time.Second},
		"reset":              {[]lbtest.Answerer{reset}, true, "", 30 * time.Second},
		"refuse, then 503":   {[]lbtest.Answerer{lbtest.Refused, status(503), lbtest.Refused}, true, "", 30 * time.Second},
		"no checks":          {[]lbtest.Answerer{lbtest.Refused}, false, "", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newWorld(t)
				var dead atomic.Bool
				var asked atomic.Int32
				checks := ""
				if c.checks {
					checks = check(t, "") + c.rules
				}
				p := pooled(t, wrr, oneRetry, checks, three(func(req *http.Request) (int, error) {
					if dead.Load() {
						return c.fails[min(int(asked.Add(1)), len(c.fails))-1](req)
					}
					return lbtest.Latency(0)(req)
				}))
				seen := events(t, p)
				traffic{rate: 100, length: time.Second}.send(p)
				dead.Store(true)
				traffic{rate: 100, length: time.Second}.send(p)
				dead.Store(false)
				began := time.Now()
				for count(seen(), "backend_returned") == 0 && time.Since(began) < time.Minute {
					traffic{rate: 100, length: 100 * time.Millisecond}.send(p)
				}
				// The ejection may be as much as the second older than the return.
				took := time.Since(began)
				if took > c.back+500*time.Millisecond || c.back == 30*time.Second && took < c.back-2*time.Second {
					t.Errorf("it has returned after %v, want %v: %v", took, c.back, seen())
				}
			})
		})
	}
}

// A backend that refuses requests while its probes pass, as on another port, is tried
// at longer and longer intervals.
func TestTrialsOfWhoRefusesGrowRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		asked := 0
		p := pooled(t, wrr, oneRetry, check(t, ""), three(func(req *http.Request) (int, error) {
			asked++
			return lbtest.Refused(req)
		}))
		traffic{rate: 50, length: 2 * time.Minute}.send(p)
		// The n-th takes 2n probes, a second apart: 10 of them take 110 s.
		if asked < 5+5 || asked > 5+11 {
			t.Errorf("%d requests in 2 minutes", asked)
		}
	})
}

// An ejection outlives a reload, also one that is rejected.
func TestEjectionOutlivesReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		backends := lbtest.Backends{"b:1": lbtest.Latency(0), "c:1": lbtest.Latency(0), "a:1": func(*http.Request) (int, error) {
			asked++
			return http.StatusBadGateway, nil
		}}
		p := pooled(t, wrr, "", "", backends)
		traffic{rate: 50, length: time.Second}.send(p)
		if asked != 5 {
			t.Fatalf("%d requests before the ejection, want 5", asked)
		}
		config := `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"wrr"}},
			"dynamic_upstreams":{"source":"pool",` + dials("a:1", "b:1", "c:1") + `}}`
		if _, err := lbtest.LoadAll(t, nil, backends, config, `{"transport":{"protocol":"nonesuch"}}`); err == nil {
			t.Fatal("not rejected")
		}
		traffic{rate: 50, length: time.Second}.send(p)
		if asked != 5 {
			t.Fatalf("%d requests after a rejected reload", asked)
		}
		next := pooled(t, wrr, "", "", backends)
		seen := events(t, next)
		p.Close()
		traffic{rate: 50, length: 20 * time.Second}.send(next)
		if asked != 5 || len(seen()) > 0 {
			t.Errorf("%d requests, and said again: %v", asked, seen())
		}
		traffic{rate: 50, length: 15 * time.Second}.send(next)
		if asked < 6 {
			t.Error("the ejection never ends")
		}
	})
}
