// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"fmt"
	"time"
)

// interval is a period of outcomes that are evaluated together at its end.
type interval struct {
	start                time.Duration // 0 for none yet
	counts               IntervalCounts
	errors, noConnection int64
}

// IntervalCounts are the totals of a backend at the end of an interval.
type IntervalCounts struct {
	// Ended counts the attempts that have ended and count for or against the backend.
	Ended int64
	// Answered counts the attempts with a response header.
	Answered int64
	// FirstByte is the sum of the times to that header.
	FirstByte time.Duration
	// Bodies counts the responses whose body has begun, or that have none.
	Bodies int64
	// Body is the sum of the times to the first byte of these bodies, or to the header.
	Body time.Duration
}

// Evaluation is the result of an interval.
type Evaluation struct {
	Cause
	// Latency is the average time to a header, or to a body with Rules.LatencyByBody, in
	// nanoseconds, or 0 for fewer than MinRequests.
	Latency float64
}

// EvaluateInterval evaluates the last interval if it is over. The reason of the result is empty
// unless the backend is to be ejected for its errors. An interval without ejection shortens the
// next ejection.
func (e *Ejection) EvaluateInterval(rules *Rules, now time.Duration, c IntervalCounts) (v Evaluation, over bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &e.window
	if w.start != 0 && now-w.start < rules.Interval {
		return v, false
	}
	last := *w
	*w = interval{start: now, counts: c, errors: e.errors.Load(), noConnection: e.noConnection.Load()}
	if last.start == 0 || e.EjectionState() != Healthy {
		return v, false
	}
	if e.times > 0 && e.until < last.start {
		e.times--
	}
	n, sum := c.Answered-last.counts.Answered, c.FirstByte-last.counts.FirstByte
	if rules.LatencyByBody {
		n, sum = c.Bodies-last.counts.Bodies, c.Body-last.counts.Body
	}
	if n >= rules.MinRequests && n > 0 {
		v.Latency = float64(sum) / float64(n)
	}
	n = c.Ended - last.counts.Ended
	errors := w.errors - last.errors
	if rules.ErrorRatio > 0 && n >= rules.MinRequests && n > 0 && float64(errors) >= rules.ErrorRatio*float64(n) {
		v.Reason = fmt.Sprintf("%d of %d requests failed", errors, n)
		v.NoConnection = w.noConnection-last.noConnection == errors
	}
	return v, true
}

// NextEvaluation returns when the current interval ends. pending is false if it has no errors to
// evaluate.
func (e *Ejection) NextEvaluation(rules *Rules) (ends time.Duration, pending bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.window.start + rules.Interval, e.window.start != 0 && e.errors.Load() != e.window.errors
}
