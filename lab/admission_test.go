// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"testing"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
)

// BenchmarkAdmission measures the admission and the end of one request with the adaptive limiter of
// failsafe-go. The benchmark of the same name in shedder/internal/admission, which only packages of
// shedder can import, measures Ballast's limiters.
func BenchmarkAdmission(b *testing.B) {
	limiter := adaptivelimiter.NewBuilder[any]().WithLimits(1, 1000, 64).Build()
	ctx := context.Background()
	admit := func() {
		if permit, err := limiter.AcquirePermit(ctx); err == nil {
			permit.Record()
		}
	}
	b.Run("failsafe-go/alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			admit()
		}
	})
	b.Run("failsafe-go/contended", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				admit()
			}
		})
	})
}
