// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadreport

import (
	"math"
	"time"
)

// measuredOver is the time constant of the averages of a [measuredLoad]. It smooths the chance of few
// requests.
const measuredOver = 10 * time.Second

// measuredLoad is the rate of requests to a backend that reports its utilization without a rate,
// and that utilization. Both are averages over the same time: their quotient, the rate at full
// utilization, is then right also while shares change. Read-only.
type measuredLoad struct {
	at                time.Duration
	begun             int64
	rate, utilization float64
	known             bool // there is a rate
}

// measure takes a sample if there is a new report, and returns the estimated rate at full
// utilization; 0 for unknown. The rate is that of this process alone: begun counts its attempts.
func (l *Load) measure(now time.Duration, r *Received, begun int64) float64 {
	last := l.measured.Load()
	switch {
	case last == nil || now-last.at >= expirationPeriod:
		l.measured.CompareAndSwap(last, &measuredLoad{at: now, begun: begun})
		return 0
	case r.At <= last.at:
		return last.weight()
	}
	passed, share := (now - last.at).Seconds(), 1.0
	if last.known {
		share = -math.Expm1(-passed / measuredOver.Seconds())
	}
	next := &measuredLoad{
		at: now, begun: begun, known: true,
		rate:        last.rate + share*(float64(begun-last.begun)/passed-last.rate),
		utilization: last.utilization + share*(r.Utilization-last.utilization),
	}
	l.measured.CompareAndSwap(last, next)
	return next.weight()
}

// weight returns the estimated rate at full utilization; 0 for unknown.
func (m *measuredLoad) weight() float64 {
	if weight := m.rate / m.utilization; m.utilization > 0 && weight <= math.MaxFloat64 {
		return weight
	}
	return 0
}
