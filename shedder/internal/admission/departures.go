// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	weakrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// departureRate estimates the rates of completed and of refused requests. It is evaluated only
// while requests are refused.
type departureRate struct {
	left, refused atomic.Int64 // totals
	delay         atomic.Int64 // Retry-After of refused requests, in nanoseconds

	mu            sync.Mutex // guards the fields below: the time and totals at the last measurement
	measuredAt    time.Duration
	leftBefore    int64
	refusedBefore int64
}

const (
	// measureEvery is the least interval between two measurements.
	measureEvery = time.Second
	// minDelay and maxDelay bound delay.
	minDelay, maxDelay = time.Second, time.Minute
)

// RetryAfter returns the delay after which a request that is refused now should be retried: the
// time in which as many requests complete as were refused in the last second, times a random factor
// from 0.5 to 1.5, so that clients do not return all at once. It is from 1s to 90s.
func (g *Gate) RetryAfter(now time.Duration) time.Duration {
	d := &g.departures
	if d.mu.TryLock() {
		d.measure(now)
		d.mu.Unlock()
	}
	delay := max(float64(d.delay.Load()), float64(minDelay))
	return max(minDelay, time.Duration(delay*(0.5+weakrand.Float64())))
}

func (d *departureRate) measure(now time.Duration) {
	left, refusedTotal := d.left.Load(), d.refused.Load()
	over := now - d.measuredAt
	if d.measuredAt != 0 && over < measureEvery {
		return
	}
	if d.measuredAt != 0 && over < 3*measureEvery {
		delay := maxDelay
		if done := left - d.leftBefore; done > 0 {
			refused := float64(refusedTotal-d.refusedBefore) / over.Seconds()
			delay = time.Duration(refused / (float64(done) / over.Seconds()) * float64(time.Second))
		}
		d.delay.Store(int64(math.Min(float64(delay), float64(maxDelay))))
	} else {
		d.delay.Store(0) // the last measurement is too old
	}
	d.measuredAt, d.leftBefore, d.refusedBefore = now, left, refusedTotal
}
