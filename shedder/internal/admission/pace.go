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

// pace estimates how fast requests leave and how many are refused. It is evaluated only while
// requests are refused.
type pace struct {
	left, turned atomic.Int64 // totals
	delay        atomic.Int64 // Retry-After of refused requests, in nanoseconds

	mu      sync.Mutex // guards the fields below: the time and totals at the last measurement
	at      time.Duration
	leftAt  int64
	turnsAt int64
}

const (
	// paceOver is the least interval between two measurements.
	paceOver = time.Second
	// minDelay and maxDelay bound delay.
	minDelay, maxDelay = time.Second, time.Minute
)

// RetryAfter returns the delay after which a request that is refused now should be retried:
// the time in which as many requests leave as were refused in the last second, times a random
// factor from 0.5 to 1.5, so that clients do not return all at once. It is from 1s to 90s.
func (g *Gate) RetryAfter(now time.Duration) time.Duration {
	p := &g.pace
	if p.mu.TryLock() {
		p.measure(now)
		p.mu.Unlock()
	}
	delay := max(float64(p.delay.Load()), float64(minDelay))
	return max(minDelay, time.Duration(delay*(0.5+weakrand.Float64())))
}

func (p *pace) measure(now time.Duration) {
	left, turned := p.left.Load(), p.turned.Load()
	over := now - p.at
	if p.at != 0 && over < paceOver {
		return
	}
	if p.at != 0 && over < 3*paceOver {
		delay := maxDelay
		if done := left - p.leftAt; done > 0 {
			refused := float64(turned-p.turnsAt) / over.Seconds()
			delay = time.Duration(refused / (float64(done) / over.Seconds()) * float64(time.Second))
		}
		p.delay.Store(int64(math.Min(float64(delay), float64(maxDelay))))
	} else {
		p.delay.Store(0) // the last measurement is too old
	}
	p.at, p.leftAt, p.turnsAt = now, left, turned
}
