// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// million is how many sessions the table of these benchmarks has.
const million = 1_000_000

func fill(t *table, r *rules) {
	for n := range million {
		bindTo(t, hashed(n), Binding{Backend: ID(n % 10), Issued: 1000, Seen: 1000}, 1000, r)
	}
}

var unbounded = &rules{Lifetimes: Lifetimes{Idle: time.Hour}, max: 10 * million}

// BenchmarkSessionTable is what a million sessions cost: memory for each, and how many
// look-ups there are in a second on all processors.
func BenchmarkSessionTable(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	t := newTable(tableShards)
	fill(t, unbounded)
	runtime.GC()
	runtime.ReadMemStats(&after)
	var next atomic.Int64
	began := time.Now()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := int(next.Add(100_003))
		for pb.Next() {
			if _, ok := t.get(hashed(n%million), 1000, unbounded); !ok {
				b.Error("a session is lost")
			}
			n += 7919
		}
	})
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "lookups/s")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/million, "B/session")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSessionPauses is how long look-ups take while a table grows to a million
// sessions and the garbage collector runs, beside the same loop that looks up nothing,
// which the machine makes wait as well.
func BenchmarkSessionPauses(b *testing.B) {
	pauses := func(look func(n int)) (p9999, longest float64) {
		t := newTable(tableShards)
		var done atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			fill(t, unbounded)
			done.Store(true)
		})
		var took []time.Duration
		for n := 0; !done.Load(); n++ {
			began := time.Now()
			if look != nil {
				look(n)
			} else {
				t.get(hashed(n%million), 1000, unbounded)
			}
			took = append(took, time.Since(began))
		}
		wg.Wait()
		slices.Sort(took)
		return float64(took[len(took)*9999/10_000].Nanoseconds()) / 1e3, float64(took[len(took)-1].Nanoseconds()) / 1e3
	}
	for b.Loop() {
		p, longest := pauses(nil)
		idle, longestIdle := pauses(func(n int) { hashed(n) })
		b.ReportMetric(p, "us-p99.99")
		b.ReportMetric(longest, "us-longest")
		b.ReportMetric(idle, "us-p99.99-of-nothing")
		b.ReportMetric(longestIdle, "us-longest-of-nothing")
		b.ReportMetric(0, "ns/op")
	}
}
