// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"math"
	"math/rand/v2"
	"time"
)

// Schedule returns the time from one request to the next, at each call.
type Schedule func() time.Duration

// Fixed has so many requests a second be sent at even intervals.
func Fixed(rate float64) Schedule {
	var n int64
	var last time.Duration
	return func() time.Duration { // without adding up what is rounded
		n++
		next := time.Duration(math.Round(float64(n) / rate * float64(time.Second)))
		gap := next - last
		last = next
		return gap
	}
}

// Poisson has them be sent by chance and independently of each other, as many
// clients do. The same seed gives the same times.
func Poisson(rate float64, seed uint64) Schedule {
	rng := rand.New(rand.NewPCG(seed, 7))
	return func() time.Duration { return time.Duration(rng.ExpFloat64() / rate * float64(time.Second)) }
}
