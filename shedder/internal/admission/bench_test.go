// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"testing"
	"time"
)

// BenchmarkAdmission measures the admission and the end of one request, including the reading of
// the clock. The benchmark of the same name in lab measures the adaptive limiter of failsafe-go.
func BenchmarkAdmission(b *testing.B) {
	began := time.Now()
	bounds := Bounds{Start: 64, Min: 1, Max: 1000}
	for _, limiter := range []struct {
		name string
		rule Rule
	}{
		{"fixed", Fixed(1000)},
		{"gradient", Gradient{Bounds: bounds, Tolerance: 1.5}},
		{"vegas", Vegas{Bounds: bounds}},
		{"aimd", AIMD{Bounds: bounds, Timeout: time.Second}},
	} {
		gate := NewGate(Config{Rule: limiter.rule}, time.Since(began))
		admit := func() {
			ticket, _ := gate.Admit(time.Since(began), Normal)
			ticket.Leave(time.Since(began), Answered)
		}
		b.Run(limiter.name+"/alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				admit()
			}
		})
		b.Run(limiter.name+"/contended", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					admit()
				}
			})
		})
	}
}
