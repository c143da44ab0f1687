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

// pace is how fast requests leave, and how many are refused. It is looked at
// only while requests are refused.
type pace struct {
	left, turned atomic.Int64 // in all
	delay        atomic.Int64 // what to tell the refused, in nanoseconds

	mu      sync.Mutex // guards what follows, as it was then
	at      time.Duration
	leftAt  int64
	turnsAt int64
}

const (
	// paceOver is what the pace is measured over.
	paceOver = time.Second
	// minDelay and maxDelay bound what the refused are told.
	minDelay, maxDelay = time.Second, time.Minute
)

// RetryAfter returns when a request that is refused now should be tried again:
// after the time in which as many leave as were refused in the last second, or
// somewhat before or after, so that not all come at once. It is from 1s to 90s.
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
		p.delay.Store(0) // what was long ago says nothing
	}
	p.at, p.leftAt, p.turnsAt = now, left, turned
}
