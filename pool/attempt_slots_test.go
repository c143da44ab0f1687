// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	weakrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Whatever requests, clients and transports do, with all mechanisms that make attempts or copies of them and too few slots:
// in the end no slot, place in the queue or copy is taken.
func TestNothingIsTakenInTheEnd(t *testing.T) {
	for _, policy := range []string{`{"policy":"p2c"}`, `{"policy":"round_robin"}`, `{"policy":"sticky","header":"X-S"}`} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				r := weakrand.New(weakrand.NewPCG(7, 7))
				random := func(n int) int {
					mu.Lock()
					defer mu.Unlock()
					return r.IntN(n)
				}
				answer := func(req *http.Request) (int, error) {
					lbtest.Wait(req.Context(), time.Duration(random(20))*ms)
					switch random(25) {
					case 0:
						return 0, errors.New("connection reset by peer")
					case 1, 2:
						return http.StatusServiceUnavailable, nil
					case 3:
						panic("broken transport")
					case 4, 5:
						return hang(req)
					case 6:
						_ = httptrace.ContextClientTrace(req.Context()).Got1xxResponse(103, textproto.MIMEHeader{})
					case 7, 8:
						return lbtest.LateBody(time.Duration(random(100)) * ms)(req)
					}
					return http.StatusOK, nil
				}
				d := new(diary)
				backends := lbtest.Backends{"shadow:1": d.of("shadow:1", lateBy(20*ms, status(200)))}
				for _, address := range []string{"a:1", "b:1", "c:1"} {
					backends[address] = d.of(address, answer)
				}
				p, err := lbtest.Load(t, caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"web":{` + dials("a:1", "b:1", "c:1") + `,"outliers":{"off":true},"max_requests":4,
					"queue":{"size":10,"timeout":"50ms"},"retry_budget":{"ratio":0.5},"retry":{"tries":2,"on":["connect","reset","timeout","503"],"timeout":"200ms"},
					"hedge":{"quantile":0.5,"max":1,"match":[{"method":["GET","PUT"]}]},"mirror":{"ratio":0.5,"to":["shadow:1"],"methods":["GET","PUT"],"timeout":"1s"}}}}`)},
					`{"transport":{"protocol":"lbtest"},"load_balancing":{"retries":1,"selection_policy":`+policy+`},"dynamic_upstreams":{"source":"pool","name":"web"}}`, backends)
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for n := range 600 {
					wg.Go(func() {
						ctx, leave := context.WithTimeout(t.Context(), time.Duration(50+random(1000))*ms)
						defer leave()                    // the server does, also after a panic
						defer func() { _ = recover() }() // likewise
						req := httptest.NewRequest([]string{"GET", "PUT", "PUT"}[n%3], "http://x/", nil)
						switch n % 3 {
						case 1:
							req = httptest.NewRequest("PUT", "http://x/", strings.NewReader(strings.Repeat("x", random(100_000))))
						case 2:
							req = httptest.NewRequest("PUT", "http://x/", iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("hello"))))
						}
						req.Header.Set("X-S", string(rune('a'+random(20))))
						p.Serve(req.WithContext(ctx))
					})
					time.Sleep(time.Duration(random(20)) * ms)
				}
				wg.Wait()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				expectNothingTaken(t, "web")
				for trigger, want := range map[string]bool{"hedge": !strings.Contains(policy, "sticky"), "status": true, "timeout": true} {
					if n := p.Metric(t, "caddy_ballast_pool_retries_total", "trigger", trigger); want != (n > 0) {
						t.Errorf("%v attempts because of %s", n, trigger)
					}
				}
				if n := p.Metric(t, "caddy_ballast_mirror_in_flight"); n != 0 {
					t.Errorf("%v copies are in flight", n)
				}
			})
		})
	}
}
