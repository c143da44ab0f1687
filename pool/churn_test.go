// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	_ "github.com/ballast-lb/caddy-ballast/sticky"
)

// Backends that come and go leave nothing behind: with 50 that are replaced once a minute, the memory in use after 750 and
// after 2,250 differs by less than 250 bytes for each of these 1,500. What a session policy knows of a backend takes 600, and
// the state of one 4 KB.
func TestSimulationOfChurn(t *testing.T) {
	if lbtest.RaceDetector {
		t.Skip("the race detector takes ten times as long, and makes no difference; make sim runs it without")
	}
	synctest.Test(t, func(t *testing.T) {
		r, backends := newRegistry(t), make(lbtest.Backends)
		p, err := lbtest.Load(t, nil, proxy("sticky", `"name":"web",`+
			pushing(t, `,"subset":20,"slow_start":{"window":"1s"},"outliers":{"latency":3},"hedge":{"quantile":0.95}`)), backends)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		replace := func(times int) (bytes int64) {
			for range times {
				var all []string
				clear(backends)
				for range 50 {
					n++
					address := fmt.Sprintf("10.0.%d.%d:80", n>>8, n&255)
					all, backends[address] = append(all, address), lbtest.Latency(time.Millisecond)
				}
				r.set(at(all...)...)
				seconds(1)
				for range 20 {
					if _, err := p.Get(); err != nil {
						t.Error(err)
					}
				}
				seconds(59)
			}
			runtime.GC()
			runtime.GC() // of what finalizers have freed
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := replace(15)
		if after := replace(30); after-before > 1500*250 {
			t.Errorf("%d bytes after 750 backends, and %d after 2,250", before, after)
		}
	})
}
