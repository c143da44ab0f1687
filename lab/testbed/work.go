// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"math"
	"sync/atomic"
	"time"
)

// sink prevents the compiler from removing the computation.
var sink atomic.Uint64

// Compute runs iterations of a computation that only uses the CPU.
func Compute(iterations int) {
	x := uint64(88172645463325252)
	for range iterations {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	sink.Store(x)
}

// IterationsPer returns how many iterations take the given time on one CPU of this machine. It uses
// the fastest of several measurements, since other processes only slow it down.
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
