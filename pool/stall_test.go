// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"fmt"
	weakrand "math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

const wrr, oneRetry = `{"policy":"wrr"}`, `,"retries":1`

// One of three hangs, 500 requests a second, no retries, no timeout but the
// client's 2 s: 167 requests a second go to it until it is ejected. It is silent
// since its last answer, at most one look (50 ms) is lost until that is seen, and
// then a stall of 1 s: 1.05 s, or 176 requests, and the trial after 30 s, which
// is not reached here.
func TestHungBackendIsEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t) // in which all are healthy
		p := pooled(t, wrr, "", check(t, ""), three(after(5*time.Second, lbtest.Latency(fast), hang)))
		seen := events(t, p)
		got := traffic{rate: 500, length: 20 * time.Second, patience: 2 * time.Second}.send(p)
		if got.lost > 180 || got.lost < 150 {
			t.Errorf("%d requests were lost, want about 176", got.lost)
		}
		if late := got.lostSince(6200 * time.Millisecond); late > 0 {
			t.Errorf("%d requests were lost after the ejection", late)
		}
		if n := count(seen(), "backend_ejected"); n != 1 {
			t.Errorf("%d ejections: %v", n, seen())
		}
	})
}

// With a limit on the time to a header and a retry, nothing is lost: the
// transport gives up after 1 s, and the retry goes elsewhere.
func TestHungBackendWithRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		givesUp := func(req *http.Request) (int, error) {
			select {
			case <-time.After(time.Second): // response_header_timeout
				return 0, context.DeadlineExceeded
			case <-req.Context().Done():
				return 0, req.Context().Err()
			}
		}
		p := pooled(t, wrr, oneRetry, "", three(after(5*time.Second, lbtest.Latency(fast), givesUp)))
		got := traffic{rate: 500, length: 20 * time.Second, patience: 2 * time.Second}.send(p)
		if got.lost > 0 {
			t.Errorf("%d requests were lost", got.lost)
		}
	})
}

// Whatever takes long on all three is no stall.
func TestSimulationLongPollsEjectNobody(t *testing.T) {
	lbtest.Simulation(t)
	takes := func(low, high int) lbtest.Answerer {
		return func(req *http.Request) (int, error) {
			return lbtest.Latency(time.Duration(low+weakrand.IntN(high-low+1)) * time.Second)(req)
		}
	}
	// An answer to all that wait, every 20 s, as of a message to all.
	broadcast := func(req *http.Request) (int, error) {
		return lbtest.Latency(20*time.Second - time.Duration(time.Now().UnixNano())%(20*time.Second))(req)
	}
	half := func(a, b lbtest.Answerer) lbtest.Answerer {
		return func(req *http.Request) (int, error) {
			if weakrand.IntN(2) == 0 {
				return a(req)
			}
			return b(req)
		}
	}
	for name, backend := range map[string]lbtest.Answerer{
		"30 s each":        takes(30, 30),
		"10 to 40 s":       takes(10, 40),
		"to all":           broadcast,
		"among quick ones": half(takes(10, 40), lbtest.Latency(fast)),
		"a second or two":  half(takes(1, 2), takes(1, 1)),
	} {
		for _, rate := range []int{10, 200} {
			t.Run(fmt.Sprint(name, " at ", rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := pooled(t, wrr, "", "", lbtest.Backends{"a:1": backend, "b:1": backend, "c:1": backend})
					seen := events(t, p)
					traffic{rate: rate, length: 2 * time.Minute}.send(p)
					if n := count(seen(), "backend_ejected"); n > 0 {
						t.Errorf("%d ejections: %v", n, seen())
					}
				})
			})
		}
	}
}

// A backend that gets all of the long polls, because they have one key, is not
// as its peers are, and has not been before.
func TestSimulationLongPollsOfOneKeyEjectNobody(t *testing.T) {
	lbtest.Simulation(t)
	synctest.Test(t, func(t *testing.T) {
		backend := func(req *http.Request) (int, error) {
			if req.URL.Path == "/poll" {
				return lbtest.Latency(20*time.Second + time.Duration(weakrand.IntN(10000))*time.Millisecond)(req)
			}
			return lbtest.Latency(fast)(req)
		}
		p := pooled(t, `{"policy":"rendezvous","key":"path"}`, "", "", lbtest.Backends{"a:1": backend, "b:1": backend, "c:1": backend})
		seen := events(t, p)
		traffic{rate: 200, length: 2 * time.Minute, path: func(n int) string {
			if n%4 == 0 && n > 4000 { // after 20 s of requests that are alike
				return "/poll"
			}
			return fmt.Sprint("/", weakrand.IntN(1000))
		}}.send(p)
		if n := count(seen(), "backend_ejected"); n > 0 {
			t.Errorf("%d ejections: %v", n, seen())
		}
	})
}

// Quick requests among long polls show a stall that the long polls alone do not.
func TestSimulationHungBackendAmongLongPolls(t *testing.T) {
	lbtest.Simulation(t)
	synctest.Test(t, func(t *testing.T) {
		mixed := func(req *http.Request) (int, error) {
			if req.URL.Path == "/poll" {
				return lbtest.Latency(30 * time.Second)(req)
			}
			return lbtest.Latency(fast)(req)
		}
		began := time.Now()
		hangs := func(req *http.Request) (int, error) { // with all that it holds
			if _, _ = mixed(req); time.Since(began) > 40*time.Second {
				return hang(req)
			}
			return http.StatusOK, nil
		}
		p := pooled(t, wrr, "", "", lbtest.Backends{"a:1": hangs, "b:1": mixed, "c:1": mixed})
		seen := events(t, p)
		traffic{rate: 500, length: 50 * time.Second, patience: time.Minute, path: func(n int) string {
			if n%25 == 0 {
				return "/poll"
			}
			return "/"
		}}.send(p)
		if n := count(seen(), "backend_ejected"); n != 1 {
			t.Errorf("%d ejections: %v", n, seen())
		}
	})
}

// One less than 10 requests that wait is no stall, nor is one look less than a
// second.
func TestStallBoundaries(t *testing.T) {
	for name, c := range map[string]struct {
		waiting int
		length  time.Duration
		want    int
	}{
		"nine requests":   {9, 10 * time.Second, 0},
		"ten requests":    {10, 10 * time.Second, 1},
		"not a second":    {100, 900 * time.Millisecond, 0},
		"just a second":   {100, 1100 * time.Millisecond, 1},
		"off, and longer": {100, 10 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool := ""
				if name == "off, and longer" {
					pool = `"outliers":{"stall":0}`
				}
				// Until it hangs, a answers as the others do; then it is sent all
				// that will wait within 30 ms.
				p := pooled(t, wrr, "", pool, three(after(5*time.Second, lbtest.Latency(fast), func(req *http.Request) (int, error) {
					return lbtest.Latency(c.length)(req)
				})))
				seen := events(t, p)
				traffic{rate: 300, length: 5 * time.Second}.send(p)
				seconds(0.1)
				traffic{rate: 10000, length: time.Duration(3*c.waiting) * time.Second / 10000}.send(p)
				if n := count(seen(), "backend_ejected"); n != c.want {
					t.Errorf("%d ejections: %v, want %d", n, seen(), c.want)
				}
			})
		})
	}
}
