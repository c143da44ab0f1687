// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// loadCapped loads a proxy whose pool "web" has a limit and options, and no retries.
func loadCapped(t *testing.T, policy string, limit int, pool string) (*lbtest.Proxy, *meter) {
	t.Helper()
	m := newMeter(t)
	m.limit = func(string) int { return limit }
	p, err := lbtest.Load(t, nil, strings.Replace(capped(t, policy, limit, pool), `"retries":2,`, "", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, m
}

// asked is one request and what became of it.
type asked struct {
	fare
	sent, came, ended time.Duration // since the test began; came is to a backend
	status            int
	backend           string
	reason            pool.Reason
}

// line sends requests, and waits until all have ended.
type line struct {
	began time.Time
	mu    sync.Mutex
	all   []*asked
	wg    sync.WaitGroup
}

func newLine() *line { return &line{began: time.Now()} }

// send sends a request that takes d, whose client leaves after patience.
func (l *line) send(p *lbtest.Proxy, d, patience time.Duration) *asked {
	a := &asked{fare: fare{header: d, client: patience}, sent: time.Since(l.began), came: -1}
	a.arrived = func() { l.mu.Lock(); defer l.mu.Unlock(); a.came = time.Since(l.began) }
	l.all = append(l.all, a)
	path := uris(len(l.all))
	l.wg.Go(func() {
		w, repl, err := request(p, &a.fare, path)
		l.mu.Lock()
		defer l.mu.Unlock()
		a.ended, a.status, a.backend = time.Since(l.began), w.Code, w.Header().Get("X-Upstream")
		reason, _ := repl.GetString("http.ballast.reason")
		a.reason = pool.Reason(reason)
		if err != nil {
			a.status = 503
			if !strings.Contains(err.Error(), "503") {
				a.status = 502
			}
		}
	})
	synctest.Wait()
	return a
}

// hasCome reports whether a request has come to a backend.
func (l *line) hasCome(a *asked) bool { l.mu.Lock(); defer l.mu.Unlock(); return a.came >= 0 }

const ms = time.Millisecond

// oneOnly are one policy that compares candidates, one with a key, and one of Caddy. Each waits
// by other code.
var oneOnly = []string{`{"policy":"p2c"}`, `{"policy":"rendezvous","key":"uri"}`, `{"policy":"round_robin"}`}

// Requests are served in the order in which they came, each at the very moment at
// which the one before has ended, also those that come at such a moment.
func TestQueueIsFIFO(t *testing.T) {
	for _, policy := range oneOnly {
		synctest.Test(t, func(t *testing.T) {
			p, _ := loadCapped(t, policy, 1, `"queue":{"size":100,"timeout":"10s"},`+dials("a:1"))
			l := newLine()
			for range 40 {
				l.send(p, 10*ms, 0)
				time.Sleep(5 * ms)
			}
			l.wg.Wait()
			for i, a := range l.all {
				if want := time.Duration(i) * 10 * ms; a.came != want || a.status != 200 {
					t.Errorf("%s: request %d came to the backend after %v with status %d, want %v", policy, i, a.came, a.status, want)
				}
			}
			expectNothingTaken(t, "web")
		})
	}
}

// Who is refused is told so, when it is time and not before: without a queue at
// once, with one when it is full, or the time is over; and a client that leaves is a
// 499. What has left makes room.
func TestQueueRefuses(t *testing.T) {
	for _, policy := range oneOnly {
		synctest.Test(t, func(t *testing.T) {
			expect := func(a *asked, status int, reason pool.Reason, took time.Duration) {
				t.Helper()
				if a.status != status || a.reason != reason || a.ended-a.sent != took {
					t.Errorf("%s: %d with reason %q after %v, want %d with %q after %v", policy, a.status, a.reason, a.ended-a.sent, status, reason, took)
				}
			}
			p, m := loadCapped(t, policy, 1, `"queue":{"size":2,"timeout":"100ms"},`+dials("a:1"))
			l := newLine()
			served := l.send(p, 500*ms, 0)
			expires, leaves := l.send(p, ms, 0), l.send(p, ms, 30*ms)
			full := l.send(p, ms, 0)
			time.Sleep(50 * ms)
			second := l.send(p, ms, 0)
			l.wg.Wait()
			expect(served, 200, "", 500*ms)
			expect(expires, 503, pool.ReasonQueueTimeout, 100*ms)
			expect(leaves, 499, pool.ReasonGone, 30*ms)
			expect(full, 503, pool.ReasonQueueFull, 0)
			expect(second, 503, pool.ReasonQueueTimeout, 100*ms)
			if m.sent != 1 {
				t.Errorf("%d were sent", m.sent)
			}
			want := pool.RequestTotals{Queued: 3, Waits: 3, Waited: 230 * ms, Refused: make(map[pool.Reason]int64)}
			for _, reason := range pool.Reasons() {
				want.Refused[reason] = 0
			}
			want.Refused[pool.ReasonQueueTimeout], want.Refused[pool.ReasonQueueFull], want.Refused[pool.ReasonGone] = 2, 1, 1
			if got := pool.Current("web").Totals(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("counted %v, want %v", got, want)
			}
			expectNothingTaken(t, "web")
		})
		synctest.Test(t, func(t *testing.T) {
			p, _ := loadCapped(t, policy, 1, dials("a:1"))
			l := newLine()
			l.send(p, 10*ms, 0)
			if a := l.send(p, ms, 0); a.status != 503 || a.reason != pool.ReasonFull {
				t.Errorf("%s: without a queue %d, %q", policy, a.status, a.reason)
			}
			l.wg.Wait()
			a := l.send(p, ms, 0)
			if l.wg.Wait(); a.status != 200 {
				t.Errorf("%s: refused for %s though the backend is free", policy, a.reason)
			}
			expectNothingTaken(t, "web")
		})
	}
}

// Where all are down, nobody waits, nor goes on to.
func TestQueueIsNotForThoseThatAreDown(t *testing.T) {
	for _, policy := range oneOnly {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p, _ := loadCapped(t, policy, 1, `"queue":{"size":10,"timeout":"10s"},"guard":false,`+dials("a:1", "b:1")+","+check(t, ""))
			seconds(0.5)
			l := newLine()
			l.send(p, 5*time.Second, 0)
			l.send(p, 5*time.Second, 0)
			waits := l.send(p, ms, 0)
			w.set(func() { w.sick["a:1"], w.sick["b:1"] = true, true })
			seconds(1)
			if waits.status != 503 || waits.reason != pool.ReasonDown || waits.ended > time.Second {
				t.Errorf("%s: %d, %q after %v, want an end when both are down", policy, waits.status, waits.reason, waits.ended)
			}
			if a := l.send(p, ms, 0); a.reason != pool.ReasonDown || a.ended != a.sent {
				t.Errorf("%s: waits for backends that are down: %q", policy, a.reason)
			}
			l.wg.Wait()
			expectNothingTaken(t, "web")
		})
	}
}

// Who waits is served when a backend comes up or joins, and when a limit rises.
func TestQueueEndsWhenThereIsRoom(t *testing.T) {
	for _, policy := range oneOnly {
		for name, change := range map[string]func(t *testing.T) (pool string, then func()){
			"a backend comes up": func(t *testing.T) (string, func()) {
				w := newWorld(t)
				w.sick["b:1"] = true
				return dials("a:1", "b:1") + "," + check(t, `,"passes":1`), func() { w.set(func() { w.sick["b:1"] = false }) }
			},
			"a backend joins": func(t *testing.T) (string, func()) {
				w := newWorld(t)
				return fmt.Sprintf(`%s,"sources":[{"source":"fake","world":%q}],"refresh":"1s"`, dials("a:1"), t.Name()),
					func() { w.set(func() { w.found = []string{"b:1"} }) }
			},
			"a limit rises": func(t *testing.T) (string, func()) {
				var mu sync.Mutex
				bound := 1
				agents.Store(t.Name(), func(string) (health.Instruction, error) {
					mu.Lock()
					defer mu.Unlock()
					return health.Instruction{MaxRequests: &[]int{bound}[0]}, nil
				})
				return fmt.Sprintf(`"backends":[{"dial":"a:1","max_requests":0}],"health":[{"check":"fakeagent","world":%q}]`, t.Name()),
					func() { mu.Lock(); defer mu.Unlock(); bound = 2 }
			},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pool, then := change(t)
					p, m := loadCapped(t, policy, 1, `"queue":{"size":10,"timeout":"10s"},`+pool)
					m.limit = func(string) int { return 2 }
					seconds(0.5) // after each probe, or look-up
					l := newLine()
					l.send(p, 5*time.Second, 0)
					waits := l.send(p, ms, 0)
					seconds(1)
					if l.hasCome(waits) {
						t.Fatalf("%s: does not wait", policy)
					}
					then()
					l.wg.Wait()
					// The probes of the second of two members begin 10 ms later.
					if waits.came < 1500*ms || waits.came > 1510*ms || waits.status != 200 {
						t.Errorf("%s: came to a backend after %v, want 1.5s", policy, waits.came)
					}
					expectNothingTaken(t, "web")
				})
			})
		}
	}
}

// Around a reload both configurations have requests under way and waiting. A slot
// that one gives back is handed to who waits in either, at that moment.
func TestQueueAcrossReload(t *testing.T) {
	for _, policy := range oneOnly {
		synctest.Test(t, func(t *testing.T) {
			config := `"queue":{"size":10,"timeout":"10s"},` + dials("a:1")
			old, _ := loadCapped(t, policy, 1, config)
			l := newLine()
			l.send(old, 10*ms, 0)
			l.send(old, 10*ms, 0)
			p, _ := loadCapped(t, policy, 1, config)
			for _, of := range []*lbtest.Proxy{p, old, p, p} {
				l.send(of, 10*ms, 0)
			}
			old.Close()
			l.wg.Wait()
			var came []time.Duration
			for _, a := range l.all {
				came = append(came, a.came)
			}
			slices.Sort(came)
			for i, at := range came {
				if at != time.Duration(i)*10*ms {
					t.Errorf("%s: came to the backend after %v, want one each 10ms", policy, came)
					break
				}
			}
			expectNothingTaken(t, "web")
		})
	}
	lbtest.NoLeaks(t)
}

// A limit that an operator lowers holds also for requests that wait in a configuration that has ended: of
// two that end at once, only one passes its slot on.
func TestLoweredLimitAcrossReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := `"queue":{"size":10,"timeout":"10s"},` + dials("a:1")
		old, _ := loadCapped(t, oneOnly[0], 2, config)
		l := newLine()
		for range 4 { // two are sent, two wait
			l.send(old, 10*ms, 0)
		}
		p, _ := loadCapped(t, oneOnly[0], 2, config)
		defer p.Close()
		old.Close()
		one := 1
		if _, err := pool.Current("web").Manager().Change("a:1", membership.Change{MaxRequests: &membership.Override{Value: &one}}); err != nil {
			t.Fatal(err)
		}
		l.wg.Wait()
		var came []time.Duration
		for _, a := range l.all {
			came = append(came, a.came)
		}
		slices.Sort(came)
		if want := []time.Duration{0, 0, 10 * ms, 20 * ms}; !slices.Equal(came, want) {
			t.Errorf("came to the backend after %v, want %v", came, want)
		}
		expectNothingTaken(t, "web")
	})
	lbtest.NoLeaks(t)
}

// Caddy's policies choose from a list, and several requests may choose the same
// backend at a time. Without a queue those that come too late try another, with one
// they wait for it.
func TestQueueOfPolicyOfCaddy(t *testing.T) {
	for queue, want := range map[string][]string{
		"":                                       {"a:1", "b:1", "c:1"},
		`"queue":{"size":10,"timeout":"500ms"},`: {"a:1", "a:1", "a:1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMeter(t)
			m.limit = func(string) int { return 1 }
			// Each takes its list before any has a backend.
			var ready sync.WaitGroup
			ready.Add(3)
			p, err := lbtest.Load(t, nil, capped(t, `{"policy":"listed"}`, 1, queue+dials("a:1", "b:1", "c:1")), nil)
			if err != nil {
				t.Fatal(err)
			}
			l := newLine()
			for range 3 {
				a := &asked{fare: fare{header: 10 * ms, listed: sync.OnceFunc(func() { ready.Done(); ready.Wait() })}}
				l.all = append(l.all, a)
				l.wg.Go(func() {
					w, _, err := request(p, &a.fare, "/")
					if a.backend = w.Header().Get("X-Upstream"); err != nil {
						t.Error(err)
					}
				})
			}
			l.wg.Wait()
			var got []string
			for _, a := range l.all {
				got = append(got, a.backend)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("with queue %q served by %v, want %v", queue, got, want)
			}
			expectNothingTaken(t, "web")
		})
	}
}

// The figure: three backends with ten workers of 50 ms each, which is 600 a
// second, are asked for 1,800 by clients that leave after 1 s. Each backend has 10 at
// a time and never more. Who is 100th in line waits for 100 slots, at 600 a second
// 167 ms, and then 50 ms; as the slots of a backend may all become free at a time,
// 50 ms more.
func TestQueueUnderOverload(t *testing.T) {
	for _, policy := range oneOnly {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const length, work = 5 * time.Second, 50 * ms
				p, m := loadCapped(t, policy, 10, `"queue":{"size":100,"timeout":"500ms"},`+dials("a:1", "b:1", "c:1"))
				l := newLine()
				for time.Since(l.began) < length {
					l.send(p, work, time.Second)
					time.Sleep(time.Second / 1800)
				}
				l.wg.Wait()
				var took []time.Duration
				for _, a := range l.all {
					if a.status == 200 {
						took = append(took, a.ended-a.sent)
					}
				}
				slices.Sort(took)
				if good := float64(len(took)) / length.Seconds(); good < 0.97*600 {
					t.Errorf("%.0f a second are answered, want 97 %% of 600", good)
				}
				if p99, most := took[len(took)*99/100], time.Second*100/600+work+50*ms; p99 > most {
					t.Errorf("the 99th percentile is %v, want at most %v", p99, most)
				}
				for b, n := range m.peak {
					if n != 10 {
						t.Errorf("%s has had %d at a time, want 10", b, n)
					}
				}
				for _, s := range m.over {
					t.Error(s)
				}
				expectNothingTaken(t, "web")
			})
		})
	}
}
