// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadreport

import (
	"math"
	"testing"
	"time"
)

// A report without a rate is worth the requests that came since the one before, at its utilization.
// The estimate is the same while the rate changes, if the utilization follows it; it stays where
// there are no new reports, and begins anew after 3 minutes.
func TestMeasuredLoad(t *testing.T) {
	l, begun, now := new(Load), int64(0), time.Hour
	const capacity = 200.0
	sample := func(passed time.Duration, rate, utilization float64) float64 {
		now += passed
		begun += int64(rate * passed.Seconds())
		return l.measure(now, &Received{Utilization: utilization, At: now}, begun)
	}
	if w := sample(time.Second, 100, 0.5); w != 0 {
		t.Errorf("the first report is worth %v", w)
	}
	for i, rate := range []float64{100, 20, 180, 100, 2, 40} {
		if w := sample(time.Second, rate, rate/capacity); math.Abs(w-capacity) > 1e-9 {
			t.Errorf("sample %d is worth %v, want %v", i, w, capacity)
		}
	}
	if w := l.measure(now+time.Minute, &Received{Utilization: 0.9, At: now}, begun); math.Abs(w-capacity) > 1e-9 {
		t.Errorf("an old report is worth %v, want %v", w, capacity)
	}
	// The averages follow a backend that has become slower, with the time constant.
	for range 10 {
		sample(time.Second, 100, 1)
	}
	if w := sample(40*time.Second, 100, 1); math.Abs(w-100) > 2 {
		t.Errorf("a slower backend is worth %v, want 100", w)
	}
	if w := sample(expirationPeriod, 100, 0.5); w != 0 {
		t.Errorf("a report after 3 minutes is worth %v", w)
	}
	if w := sample(time.Second, 100, 0); w != 0 {
		t.Errorf("no utilization is worth %v", w)
	}
}
