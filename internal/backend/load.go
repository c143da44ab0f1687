// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"math"
	"sync/atomic"
	"time"
)

// Limits of what load reports do to weights (gRFC A58).
const (
	// blackoutPeriod is for how long the first reports of a backend do not count, so
	// that they are not those of a cold one.
	blackoutPeriod = 10 * time.Second
	// expirationPeriod is when a report no longer counts.
	expirationPeriod = 3 * time.Minute
	// maxReported bounds the factor either way, so that no report takes a
	// backend out, or overwhelms it.
	maxReported = 10
)

// Load is what a backend has reported of its load. Safe for concurrent use.
type Load struct {
	latest   atomic.Pointer[LoadReport]
	reported atomic.Uint64 // the bits of the factor, 0 for 1
}

// LoadReport is a weight that a backend's own figures come to.
type LoadReport struct {
	// Weight is the requests per second that it could take, by its own account,
	// at full load.
	Weight float64
	// At is when it was reported, and Since when reports began to come without
	// a break, as of [Now].
	At, Since time.Duration
}

// Report records a weight of a report, above 0.
func (l *Load) Report(now time.Duration, weight float64) {
	r := &LoadReport{Weight: weight, At: now, Since: now}
	if last := l.latest.Load(); last != nil && now-last.At < expirationPeriod {
		r.Since = last.Since
	}
	l.latest.Store(r)
}

// Reported returns the latest report, nil for none.
func (l *Load) Reported() *LoadReport { return l.latest.Load() }

func (l *Load) factor() float64 {
	if bits := l.reported.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return 1
}

// UseReports compares the reports of backends with each other and sets their
// factors: a backend that could take twice the average, for its configured
// weight, gets factor 2. Those without a report that counts get 1, and all do if
// fewer than two have one. It reports whether a factor has changed by a
// hundredth or more.
func UseReports(now time.Duration, members []*Backend) (changed bool) {
	factors, sum, n := make([]float64, len(members)), 0.0, 0
	for i, b := range members {
		r := b.Load.latest.Load()
		configured, operator := b.baseWeight()
		base := configured * operator
		if r == nil || base <= 0 || now-r.At >= expirationPeriod || now-r.Since < blackoutPeriod {
			continue
		}
		factors[i] = r.Weight / base
		sum += factors[i]
		n++
	}
	for i, b := range members {
		factor := 1.0
		if n >= 2 && factors[i] > 0 {
			factor = min(max(factors[i]*float64(n)/sum, 1.0/maxReported), maxReported)
		}
		if math.Abs(factor-b.Load.factor()) >= 0.01*factor {
			changed = true
			b.Load.reported.Store(math.Float64bits(factor))
		}
	}
	return changed
}
