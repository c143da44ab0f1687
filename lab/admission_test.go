// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"

	"github.com/ballast-lb/caddy-ballast/internal/admission"
)

// BenchmarkAdmission is what it costs to let one request in and out again, clock
// and all: Ballast's limiters beside the adaptive limiter of failsafe-go.
func BenchmarkAdmission(b *testing.B) {
	began := time.Now()
	bounds := admission.Bounds{Start: 64, Min: 1, Max: 1000}
	for _, limiter := range []struct {
		name string
		rule admission.Rule
	}{
		{"fixed", admission.Fixed(1000)},
		{"gradient", admission.Gradient{Bounds: bounds, Tolerance: 1.5}},
		{"vegas", admission.Vegas{Bounds: bounds}},
		{"aimd", admission.AIMD{Bounds: bounds, Timeout: time.Second}},
	} {
		gate := admission.NewGate(admission.Config{Rule: limiter.rule}, time.Since(began))
		both(b, limiter.name, func() {
			ticket, _ := gate.Admit(time.Since(began), admission.Normal)
			ticket.Leave(time.Since(began), admission.Answered)
		})
	}
	other := adaptivelimiter.NewBuilder[any]().WithLimits(1, 1000, 64).Build()
	ctx := context.Background()
	both(b, "failsafe-go", func() {
		if permit, err := other.AcquirePermit(ctx); err == nil {
			permit.Record()
		}
	})
}

// both runs f by itself, and on all processors at once.
func both(b *testing.B, name string, f func()) {
	b.Run(name+"/alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
	})
	b.Run(name+"/contended", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f()
			}
		})
	})
}
