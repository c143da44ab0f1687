// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ballast_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// BenchmarkProbing is what it costs to probe 10,000 backends, here a server of
// this process on as many addresses, every 10 s with `health http`, beside the
// same pool without checks: processor time, of this process and so of the server
// too, memory, and how long 1,000 requests a second through the same pool take.
// An iteration is 10 s.
func BenchmarkProbing(b *testing.B) {
	for _, health := range []string{"", `,"health":[{"check":"http","interval":"10s"}]`} {
		name := "probed"
		if health == "" {
			name = "not_probed"
		}
		b.Run(name, func(b *testing.B) {
			var dials []map[string]string
			for _, a := range addresses(10000, listen(b)) {
				dials = append(dials, map[string]string{"dial": a})
			}
			list, _ := json.Marshal(dials)
			before := heap()
			p := lbtest.NewProxy(b, fmt.Sprintf(`{"transport":{"protocol":"canned"},"load_balancing":{"selection_policy":{"policy":"wrr"}},
				"dynamic_upstreams":{"source":"pool","backends":%s%s}}`, list, health), nil)
			var took []time.Duration
			used, began := processorTime(), time.Now()
			for b.Loop() {
				for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
					start := time.Now()
					send(b, p)
					took = append(took, time.Since(start))
					<-time.After(time.Until(start.Add(time.Millisecond)))
				}
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(100*(processorTime()-used).Seconds()/time.Since(began).Seconds(), "cpu%")
			b.ReportMetric(float64(heap()-before)/10000, "B/backend")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "us:p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "us:p99")
		})
	}
}

// heap returns the bytes in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
