// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"math"
	"math/rand/v2"
	"time"
)

// Schedule returns, at each call, the time from one request to the next; a negative time at its
// end.
type Schedule func() time.Duration

// Fixed sends requests at equal intervals, at a rate per second.
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

// Poisson sends requests at random, independent times, like many clients, with an average rate per
// second. The same seed gives the same times.
func Poisson(rate float64, seed uint64) Schedule {
	rng := rand.New(rand.NewPCG(seed, 7))
	return func() time.Duration { return time.Duration(rng.ExpFloat64() / rate * float64(time.Second)) }
}

// Recorded sends requests at the times of arrivals, which must be in order, speed times as fast.
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

// Stage is a part of a schedule with its own rate.
type Stage struct {
	// Rate is the average number of requests a second, above 0.
	Rate   float64
	Length time.Duration
}

// Stages sends requests at random as [Poisson] does, at the rates of successive stages. It ends
// with the last stage.
func Stages(seed uint64, stages ...Stage) Schedule {
	rng := rand.New(rand.NewPCG(seed, 7))
	var last, now, begin time.Duration
	return func() time.Duration {
		need := rng.ExpFloat64() // requests until the next one
		for ; len(stages) > 0; stages = stages[1:] {
			end := begin + stages[0].Length
			if at := now + time.Duration(need/stages[0].Rate*float64(time.Second)); at < end {
				gap := at - last
				now, last = at, at
				return gap
			}
			need -= (end - now).Seconds() * stages[0].Rate
			now, begin = end, end
		}
		return -1
	}
}
