// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"math"
	"sync/atomic"
	"time"
)

// sink keeps the computation from being left out by the compiler.
var sink atomic.Uint64

// Compute runs so many iterations of a computation that needs nothing but the CPU.
func Compute(iterations int) {
	x := uint64(88172645463325252)
	for range iterations {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	sink.Store(x)
}

// IterationsPer returns how many iterations take so long on one CPU of this machine, as the fastest of
// several measurements says: others only make it slower.
func IterationsPer(d time.Duration) int {
	const sample = 2_000_000
	fastest := time.Duration(math.MaxInt64)
	for range 30 {
		began := time.Now()
		Compute(sample)
		fastest = min(fastest, time.Since(began))
	}
	return int(float64(sample) * float64(d) / float64(fastest))
}
