// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package loadreport turns the load reports of backends into factors of their weights (gRFC A58).
package loadreport

import (
	"math"
	"sync/atomic"
	"time"
)

// Limits of the effect of load reports on weights (gRFC A58).
const (
	// blackoutPeriod is how long the first reports of a backend are ignored, since they may come
	// from a cold backend.
	blackoutPeriod = 10 * time.Second
	// expirationPeriod is the age at which a report no longer counts.
	expirationPeriod = 3 * time.Minute
	// maxReported bounds the factor to [1/10, 10], so that no report stops or overloads a
	// backend.
	maxReported = 10
)

// Reporter is a backend that may report its load.
type Reporter interface {
	// Reports returns the load reports of the backend.
	Reports() *Load
	// BaseWeight returns the weight before reports count.
	BaseWeight() float64
	// Attempts returns the number of attempts that have begun on it.
	Attempts() int64
}

// Load holds the load reports of a backend. Safe for concurrent use.
type Load struct {
	latest   atomic.Pointer[Received]
	reported atomic.Uint64 // the bits of the factor, 0 while the report is not compared
	measured atomic.Pointer[measuredLoad]

	utilization atomic.Uint64 // the bits of the latest one that was reported
	utilizedAt  atomic.Int64  // when it was, as of clock.Now; 0 for never
}

// RecordUtilization records the utilization of a report, with or without a rate.
func (l *Load) RecordUtilization(now time.Duration, utilization float64) {
	l.utilization.Store(math.Float64bits(utilization))
	l.utilizedAt.Store(int64(now))
}

// Utilization returns the latest reported utilization, or false if none is valid.
func (l *Load) Utilization(now time.Duration) (utilization float64, ok bool) {
	at := time.Duration(l.utilizedAt.Load())
	return math.Float64frombits(l.utilization.Load()), at > 0 && now-at < expirationPeriod
}

// Received is the weight computed from a load report of a backend.
type Received struct {
	// Weight is the request rate at full load, in requests per second, as computed from the
	// backend's own figures. It is 0 for a report without a rate.
	Weight float64
	// Utilization is that of a report without a rate, else 0.
	Utilization float64
	// At is when the report came. Since is when the current series of reports began, without a
	// gap of expirationPeriod. Both are readings of [clock.Now].
	At, Since time.Duration
}

// Report records a report: a weight above 0 or, for one without a rate, the utilization.
func (l *Load) Report(now time.Duration, weight, utilization float64) {
	r := &Received{Weight: weight, Utilization: utilization, At: now, Since: now}
	if last := l.latest.Load(); last != nil && now-last.At < expirationPeriod {
		r.Since = last.Since
	}
	l.latest.Store(r)
}

// Reported returns the latest report, nil for none.
func (l *Load) Reported() *Received { return l.latest.Load() }

// Factor returns the factor of the weight, 1 without reports.
func (l *Load) Factor() float64 {
	if bits := l.reported.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return 1
}

// Compared reports whether the report is compared with those of other backends, so that it decides
// the backend's share.
func (l *Load) Compared() bool { return l.reported.Load() != 0 }

// UseReports compares the reports of backends and sets their factors. A backend that can take
// twice the average, relative to its configured weight, gets factor 2. Backends without a valid
// report get factor 1, as do all if fewer than two have one. It reports whether a factor has
// changed by 1 % or more.
func UseReports[M Reporter](now time.Duration, members []M) (changed bool) {
	factors, sum, n := make([]float64, len(members)), 0.0, 0
	for i, b := range members {
		l, base := b.Reports(), b.BaseWeight()
		r := l.latest.Load()
		if r == nil || base <= 0 || now-r.At >= expirationPeriod || now-r.Since < blackoutPeriod {
			continue
		}
		weight := r.Weight
		if weight == 0 {
			weight = l.measure(now, r, b.Attempts())
		}
		if weight > 0 {
			factors[i] = weight / base
			sum += factors[i]
			n++
		}
	}
	for i, b := range members {
		factor, compared := 1.0, n >= 2 && factors[i] > 0
		if compared {
			factor = min(max(factors[i]*float64(n)/sum, 1.0/maxReported), maxReported)
		}
		l := b.Reports()
		differs := math.Abs(factor-l.Factor()) >= 0.01*factor
		changed = changed || differs
		switch {
		case !compared:
			l.reported.Store(0)
		case differs, !l.Compared():
			l.reported.Store(math.Float64bits(factor))
		}
	}
	return changed
}
