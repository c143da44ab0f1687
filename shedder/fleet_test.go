// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() { caddy.RegisterModule(new(fleettest.Guest)) }

// fleetSite is a site of one instance of a fleet.
func fleetSite(t *testing.T, id, shed string, backends lbtest.Backends) *site {
	t.Helper()
	apps := caddy.ModuleMap{"ballast": json.RawMessage(fmt.Sprintf(`{"fleet":{"id":%q,"store":{"module":"fleettest","name":%q}}}`, id, t.Name()))}
	p, err := lbtest.Load(t, apps, `{"transport":{"protocol":"lbtest"},"upstreams":[{"dial":"a:1"}]}`, backends)
	if err != nil {
		t.Fatal(err)
	}
	return &site{Proxy: p, shed: load(t, p, shed)}
}

// All instances together admit as many requests as the limit of the fleet, and an instance with a
// share of 0 admits none. When a share grows, queued requests are admitted.
func TestFleetLimit(t *testing.T) {
	for name, more := range map[string]string{"one gate": "", "a gate for each key": `,"per":{"key":"client_ip"}`} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var inFlight, peak atomic.Int64
				backends := lbtest.Backends{"a:1": func(req *http.Request) (int, error) {
					n := inFlight.Add(1)
					defer inFlight.Add(-1)
					for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
					}
					lbtest.Wait(req.Context(), time.Second)
					return http.StatusOK, nil
				}}
				var all []*site
				for i := range 3 { // gates are shared within a process unless they are of different fleets
					all = append(all, fleetSite(t, string(rune('a'+i)), `{"queue":{"size":10,"timeout":"10s"},"limiter":{"limiter":"fixed","limit":2,"fleet":true}`+more+`}`, backends))
				}
				time.Sleep(5 * time.Second)
				var wg sync.WaitGroup
				for _, s := range all {
					for range 3 {
						wg.Go(func() { s.do(get("/")) })
					}
				}
				synctest.Wait()
				if n := inFlight.Load(); n != 2 {
					t.Errorf("%d in flight, want 2", n)
				}
				wg.Wait()
				if n := peak.Load(); n > 2 {
					t.Errorf("%d in flight at once", n)
				}
			})
			lbtest.NoLeaks(t)
		})
	}
}
