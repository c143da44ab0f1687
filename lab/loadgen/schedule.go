// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"math"
	"math/rand/v2"
	"time"
)

// Schedule returns the time from one request to the next, at each call; a negative one at its end.
type Schedule func() time.Duration

// Fixed sends requests at even intervals, rate of them a second.
func Fixed(rate float64) Schedule {
	var n int64
	var last time.Duration
	return func() time.Duration { // rounding errors do not add up
		n++
		next := time.Duration(math.Round(float64(n) / rate * float64(time.Second)))
		gap := next - last
		last = next
		return gap
	}
}

// Poisson sends requests at random and independently of each other, as many clients do: rate a second on
// average. The same seed gives the same times.
func Poisson(rate float64, seed uint64) Schedule {
	rng := rand.New(rand.NewPCG(seed, 7))
	return func() time.Duration { return time.Duration(rng.ExpFloat64() / rate * float64(time.Second)) }
}

// Recorded sends requests at the times of arrivals, which are in order, speed times as fast.
func Recorded(arrivals []Arrival, speed float64) Schedule {
	var last time.Duration
	return func() time.Duration {
		if len(arrivals) == 0 {
			return -1
		}
		next := time.Duration(float64(arrivals[0].At) / speed)
		arrivals = arrivals[1:]
		gap := next - last
		last = next
		return max(gap, 0)
	}
}
