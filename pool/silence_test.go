// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"fmt"
	weakrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	_ "github.com/ballast-lb/caddy-ballast/sticky"
)

// chat is a backend that answers all that wait for a message with the next one, every
// 300 ms but for a time.
func chat(quietFrom, quietFor time.Duration) lbtest.Answerer {
	began := time.Now()
	const every = 300 * time.Millisecond
	return func(req *http.Request) (int, error) {
		at := time.Since(began)
		next := at.Truncate(every) + every
		if next > quietFrom && next < quietFrom+quietFor {
			next = quietFrom + quietFor
		}
		return lbtest.Latency(next - at)(req)
	}
}

// poll has 20 clients of each of three rooms wait for messages, 80 ms apart, for so
// long.
func poll(p *lbtest.Proxy, length time.Duration) (lost int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for n := range 60 {
		wg.Go(func() {
			cookie := ""
			for time.Since(began) < length {
				req := newRequest()
				req.Header.Set("X-Room", fmt.Sprint("room", n%3))
				req.Header.Set("Cookie", cookie)
				w, err := p.Do(req)
				for _, c := range w.Result().Cookies() {
					cookie = c.Name + "=" + c.Value
				}
				if err != nil {
					mu.Lock()
					lost++
					mu.Unlock()
				}
				time.Sleep(80 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return lost
}

// A chat server whose room goes quiet while the others talk is well: its sessions, or
// its key, are like nothing that the others have. Quick answers before say nothing of
// that, and its probes pass.
func TestQuietRoomEjectsNobody(t *testing.T) {
	for name, policy := range map[string]string{
		"sessions": `{"policy":"sticky"}`,
		"keys":     `{"policy":"rendezvous","key":"header","key_name":"X-Room"}`,
		"Caddy's":  `{"policy":"header","field":"X-Room"}`,
	} {
		for _, health := range []string{"", check(t, "")} {
			t.Run(fmt.Sprint(name, " checked ", health != ""), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if health != "" {
						health = check(t, "")
						newWorld(t)
					}
					quiet, lively := chat(5*time.Second, 4*time.Second), chat(0, 0)
					p := pooled(t, policy, "", health, lbtest.Backends{"a:1": quiet, "b:1": lively, "c:1": lively})
					seen := events(t, p)
					if lost := poll(p, 12*time.Second); lost > 0 || len(seen()) > 0 {
						t.Errorf("%d requests were lost, %v", lost, seen())
					}
				})
			})
		}
	}
}

// Caddy's `first` fills one backend after the other, so that the long polls that come before other requests are all on
// the first one. That it answers none of them, while the next backend answers what comes later, is no stall.
func TestFirstIsNoRandomSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		polled := func(req *http.Request) (int, error) {
			if req.URL.Path == "/poll" {
				return lbtest.Latency(5 * time.Second)(req)
			}
			return lbtest.Latency(fast)(req)
		}
		p := pooled(t, `{"policy":"first"}`, "", `"max_requests":20`, three(polled))
		seen := events(t, p)
		traffic{rate: 100, length: 3 * time.Second}.send(p)
		got := traffic{rate: 100, length: 4 * time.Second, path: func(n int) string {
			if n < 20 {
				return "/poll"
			}
			return "/"
		}}.send(p)
		if got.lost > 0 || len(seen()) > 0 || got.served["b:1"] < 300 {
			t.Errorf("%d requests were lost, served by %v, %v", got.lost, got.served, seen())
		}
	})
}

// whose returns keys that belong to the given backend, as the proxy has it.
func whose(t *testing.T, p *lbtest.Proxy, address string, want bool, n int) (keys []string) {
	t.Helper()
	for i := 0; len(keys) < n; i++ {
		req := newRequest()
		req.Header.Set("X-T", fmt.Sprint(i))
		w, err := p.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if (w.Header().Get("X-Upstream") == address) == want {
			keys = append(keys, fmt.Sprint(i))
		}
	}
	return keys
}

// The slow requests of one tenant, which all have one backend, are no stall of it,
// though others are quick, and theirs were before.
func TestSlowTenantEjectsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := false
		first := func(req *http.Request) (int, error) {
			if slow {
				return lbtest.Latency(8 * time.Second)(req)
			}
			return lbtest.Latency(fast)(req)
		}
		p := pooled(t, `{"policy":"rendezvous","key":"header","key_name":"X-T"}`, "", "", three(first))
		seen := events(t, p)
		tenant, others := whose(t, p, "a:1", true, 1)[0], whose(t, p, "a:1", false, 10)
		send := func(key string) {
			req := newRequest()
			req.Header.Set("X-T", key)
			if _, err := p.Do(req); err != nil {
				t.Error(err)
			}
		}
		for range 20 {
			send(tenant)
		}
		seconds(0.2)
		slow = true
		var wg sync.WaitGroup
		for range 25 {
			wg.Go(func() { send(tenant) })
		}
		for n := range 55 * 9 {
			wg.Go(func() { send(others[n%len(others)]) })
			time.Sleep(time.Second / 55)
		}
		wg.Wait()
		if len(seen()) > 0 {
			t.Errorf("events: %v", seen())
		}
	})
}

// A hang that begins right after an answer is seen, though nobody sends the backend
// any more: it has 25 of 75 requests that come at once, and answers the first of them.
func TestHangRightAfterAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answered atomic.Bool
		hangs := func(req *http.Request) (int, error) {
			if answered.CompareAndSwap(false, true) {
				return lbtest.Latency(fast)(req)
			}
			return hang(req)
		}
		p := pooled(t, `{"policy":"least_request"}`, "", "", three(hangs))
		seen := events(t, p)
		began := time.Now()
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		for range 75 {
			wg.Go(func() { _, _ = p.Do(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x/", nil)) })
		}
		for count(seen(), "backend_ejected") == 0 && time.Since(began) < 10*time.Second {
			wg.Go(func() { _, _ = p.Do(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x/", nil)) })
			time.Sleep(time.Second / 55)
		}
		if took := time.Since(began); took > 1200*time.Millisecond {
			t.Errorf("it took %v: %v", took, seen())
		}
		cancel()
		wg.Wait()
	})
}

// Where keys are spread by a hash, a backend that hangs has none of its keys answered,
// and so many of them do not happen to be slow at a time.
func TestHungBackendWithKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooled(t, `{"policy":"rendezvous","key":"path"}`, "", "", three(after(5*time.Second, lbtest.Latency(fast), hang)))
		seen := events(t, p)
		got := traffic{rate: 500, length: 10 * time.Second, patience: 2 * time.Second, path: func(int) string {
			return fmt.Sprint("/", weakrand.IntN(1000))
		}}.send(p)
		if late := got.lostSince(6300 * time.Millisecond); late > 0 || count(seen(), "backend_ejected") != 1 {
			t.Errorf("%d requests were lost after the ejection: %v", late, seen())
		}
	})
}

// Of the requests of sessions a probe tells whether they hang: it is made at once.
func TestHungBackendWithSessions(t *testing.T) {
	for _, sick := range []bool{true, false} {
		t.Run(fmt.Sprint("probes fail ", sick), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				hung := false
				first := func(req *http.Request) (int, error) {
					if hung {
						return hang(req)
					}
					return lbtest.Latency(fast)(req)
				}
				health := fmt.Sprintf(`"health":[{"check":"fake","world":%q,"interval":"1m","fails":100}]`, t.Name())
				p := pooled(t, `{"policy":"sticky","header":"X-S"}`, "", health, three(first))
				seen := events(t, p)
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				send := func(client int) {
					req := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x/", nil)
					req.Header.Set("X-S", fmt.Sprint(client))
					_, _ = p.Do(req)
				}
				for client := range 60 {
					send(client)
					send(client)
				}
				seconds(3)
				hung = true
				w.set(func() { w.sick["a:1"] = sick })
				began := time.Now()
				var wg sync.WaitGroup
				for n := 0; time.Since(began) < 3*time.Second; n++ {
					wg.Go(func() { send(n % 60) })
					time.Sleep(10 * time.Millisecond)
				}
				if got, want := count(seen(), "backend_ejected"), map[bool]int{true: 1, false: 0}[sick]; got != want {
					t.Errorf("%d ejections: %v, want %d", got, seen(), want)
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

// Requests that the matchers of a group select are of their own kind: that others are quick says nothing of the
// backends that have the long polls, and that long polls wait says nothing of the others.
func TestLongPollsOfAGroupEjectNobody(t *testing.T) {
	for name, of := range map[string]string{"the polls": "/poll/*", "the others": "/quick/*"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := func(req *http.Request) (int, error) {
					if req.URL.Path == "/poll/" {
						return lbtest.Latency(10 * time.Second)(req)
					}
					return lbtest.Latency(fast)(req)
				}
				backends := three(answer)
				backends["b:1"], backends["c:1"], backends["d:1"], backends["e:1"] = answer, answer, answer, answer
				p := pooled(t, wrr, "", fmt.Sprintf(`"groups":[{"name":"kind","when":[{"path":[%q]}],%s}]`, of, dials("d:1", "e:1")), backends)
				seen := events(t, p)
				var wg sync.WaitGroup
				for range 60 {
					wg.Go(func() {
						req := httptest.NewRequest(http.MethodGet, "http://x/poll/", nil)
						if _, err := p.Do(req); err != nil {
							t.Error(err)
						}
					})
				}
				traffic{rate: 100, length: 8 * time.Second, path: func(int) string { return "/quick/" }}.send(p)
				wg.Wait()
				if len(seen()) > 0 {
					t.Errorf("events: %v", seen())
				}
			})
		})
	}
}
