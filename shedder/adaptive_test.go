// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Without a configured limit, the goodput stays at the capacity and the latency stays low at any
// offered load, and below the capacity no request is refused. Clients time out after 1s.
func TestSimulationAdaptiveKeepsGoodput(t *testing.T) {
	lbtest.Simulation(t)
	for _, x := range []float64{0.5, 0.8, 1, 1.5, 2, 3, 5, 10} {
		t.Run(fmt.Sprint(x, "x"), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSite(t, `{}`, poolProxy, newThree().backends())
				const length = 10 * time.Second
				f := figuresOf(offered{rate: capacity * x, length: length, seed: 1}.send(s), 0, length)
				t.Log(f)
				if x <= 0.8 && f.shed > 0 {
					t.Errorf("%d of %d requests are shed at %v of the capacity", f.shed, f.sent, x)
				}
				if x >= 1 && f.goodput < 0.95*capacity {
					t.Errorf("a goodput of %.0f, want 95 %% of %d", f.goodput, capacity)
				}
				if f.p99 > 3*unloaded {
					t.Errorf("p99 is %v, want no more than three times %v", f.p99, unloaded)
				}
			})
		})
	}
}

// When the capacity changes under three times its load, the limit adapts within 10s: after that,
// goodput and latency are as before.
func TestSimulationAdaptiveFollows(t *testing.T) {
	lbtest.Simulation(t)
	for _, limiter := range []string{"gradient"} { // others in shedder/internal/admission
		for _, tt := range []struct {
			name     string
			change   func(three)
			capacity float64
			unloaded time.Duration
		}{
			{"half the workers", func(all three) { all.workers(-5) }, 300, unloaded},
			{"twice the workers", func(all three) { all.workers(10) }, 1200, unloaded},
			{"twice the time", func(all three) { all.takes(2 * unloaded) }, 300, 2 * unloaded},
			{"half the time", func(all three) { all.takes(unloaded / 2) }, 1200, unloaded / 2},
			{"four times the time", func(all three) { all.takes(4 * unloaded) }, 150, 4 * unloaded},
		} {
			t.Run(limiter+", "+tt.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					all := newThree()
					s := newSite(t, `{"limiter":{"limiter":"`+limiter+`"}}`, poolProxy, all.backends())
					const before, within, then = 6 * time.Second, 10 * time.Second, 5 * time.Second
					time.AfterFunc(before, func() { tt.change(all) })
					got := offered{rate: 3 * 1200, length: before + within + then, seed: 2}.send(s)
					f := figuresOf(got, before+within, before+within+then)
					t.Logf("before: %v; after: %v", figuresOf(got, 0, before), f)
					if f.goodput < 0.9*tt.capacity {
						t.Errorf("goodput is %.0f, want 90 %% of %.0f", f.goodput, tt.capacity)
					}
					if limit := 3 * tt.unloaded; f.p99 > limit {
						t.Errorf("p99 is %v, want no more than %v", f.p99, limit)
					}
				})
			})
		}
	}
}

// Critical requests are answered while others are refused: they are 30 % of an offered load of
// three times the capacity, which is 90 % of the capacity.
func TestSimulationCriticalAreAnswered(t *testing.T) {
	lbtest.Simulation(t)
	// A fixed limit keeps slots free for critical requests, which never exceed it, so its goodput
	// is lower.
	for limiter, goodput := range map[string]float64{`"gradient"`: 0.95, `"vegas"`: 0.95, `"fixed","limit":60`: 0.93} {
		t.Run(limiter, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSite(t, `{"limiter":{"limiter":`+limiter+`},"priorities":[
					{"level":"critical","match":[{"path":["/pay"]}]},{"level":"background"}]}`, poolProxy, newThree().backends())
				rng := rand.New(rand.NewPCG(3, 3))
				const length = 20 * time.Second
				all := offered{rate: 3 * capacity, length: length, seed: 3, request: func() *http.Request {
					if rng.Float64() < 0.3 {
						return get("/pay")
					}
					return get("/feed")
				}}.send(s)
				var critical, rest []answered
				for _, a := range all {
					if a.path == "/pay" {
						critical = append(critical, a)
					} else {
						rest = append(rest, a)
					}
				}
				f, total := figuresOf(critical, 0, length), figuresOf(all, 0, length)
				t.Logf("critical: %v; background: %v; all: %v", f, figuresOf(rest, 0, length), total)
				if answered := float64(f.good) / float64(f.sent); answered < 0.995 {
					t.Errorf("%.2f %% of critical requests are answered, want 99.5 %%", 100*answered)
				}
				if total.goodput < goodput*capacity {
					t.Errorf("a goodput of %.0f in all, want %.2f of %d", total.goodput, goodput, capacity)
				}
			})
		})
	}
}

// A streaming response holds no slot and is no latency sample: with twice as many open streams as
// the initial limit, other requests are answered as without streams.
func TestSimulationStreamsDoNotCount(t *testing.T) {
	lbtest.Simulation(t)
	bubble(t, func(t *testing.T) {
		s := newSite(t, `{}`, poolProxy, newThree().backends())
		proxy := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			return s.Proxy.ServeHTTP(w, r, nil)
		})
		ctx, cancel := context.WithCancel(t.Context())
		s.next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			switch r.URL.Path {
			case "/events": // server-sent events
				time.Sleep(unloaded)
				w.WriteHeader(http.StatusOK)
				<-ctx.Done()
				return nil
			case "/socket": // upgraded
				time.Sleep(unloaded)
				w.WriteHeader(http.StatusSwitchingProtocols)
				<-ctx.Done()
				return nil
			}
			return proxy(w, r)
		})
		var streams sync.WaitGroup
		for i := range 128 {
			time.Sleep(10 * time.Millisecond)
			streams.Go(func() {
				path := []string{"/events", "/socket"}[i%2]
				if r := s.do(get(path)); r.shed != "admitted" {
					t.Errorf("%s is %s", path, r.shed)
				}
			})
		}
		const length = 10 * time.Second
		f := figuresOf(offered{rate: 0.8 * capacity, length: length, seed: 4}.send(s), 0, length)
		t.Log(f)
		if f.shed > 0 || f.p99 > 3*unloaded {
			t.Errorf("with open streams: %v", f)
		}
		cancel()
		streams.Wait()
	})
}

// Clients that take 2s to send a request and 2s to read the response do not change the measured
// latency of 50ms. Each holds one slot.
func TestSimulationSlowClientsDoNotCount(t *testing.T) {
	lbtest.Simulation(t)
	bubble(t, func(t *testing.T) {
		s := newSite(t, `{}`, poolProxy, newThree().backends())
		all := newThree()
		s.next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			if _, err := io.Copy(io.Discard, r.Body); err != nil { // as with request_buffers
				return err
			}
			_, err := all[0].serve(r)
			if err == nil {
				w.WriteHeader(http.StatusOK)
				if r.Method == http.MethodPost {
					time.Sleep(2 * time.Second) // the client reads
				}
			}
			return err
		})
		var slow atomic.Int64
		const length = 10 * time.Second
		got := offered{rate: 100, length: length, timeout: 10 * time.Second, seed: 5, request: func() *http.Request {
			if slow.Add(1)%5 == 0 { // 20 a second, 40 of them sending
				return httptest.NewRequest(http.MethodPost, "http://x/", io.NopCloser(slowly{}))
			}
			return get("/")
		}}.send(s)
		f := figuresOf(got, 0, length)
		base := s.Metric(t, "caddy_ballast_shed_base_seconds")
		t.Logf("%v, base %v", f, base)
		if f.shed > 0 {
			t.Errorf("%d requests are shed", f.shed)
		}
		if base > 2*unloaded.Seconds() {
			t.Errorf("the base is %vs, want about %v", base, unloaded)
		}
	})
}

// slowly is a body of one byte that takes 2s to read.
type slowly struct{}

func (slowly) Read(p []byte) (int, error) {
	time.Sleep(2 * time.Second)
	return 0, io.EOF
}

// Caddy's server wraps the bodies of all requests, also of those without one. Such a body is not an
// upload that never ends.
func TestEmptyBodies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, `{}`, poolProxy, newThree().backends())
		offered{rate: 100, length: 2 * time.Second, seed: 8, request: func() *http.Request {
			req := get("/")
			req.Body = struct{ io.ReadCloser }{http.NoBody}
			return req
		}}.send(s)
		if base := s.Metric(t, "caddy_ballast_shed_base_seconds"); base < 0.049 || base > 0.06 {
			t.Errorf("the base is %v, want 0.05", base)
		}
	})
}
