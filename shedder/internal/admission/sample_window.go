// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// A window is as long as the base, within these bounds, and extended until it has minAnswers
	// answers, up to maxWindows times that length.
	minWindow, maxWindow = 100 * time.Millisecond, time.Second
	minAnswers           = 30
	maxWindows           = 10
	drainFactor          = 10
	// minProbe is the lower bound of the clip in a probe.
	minProbe = 10 * time.Millisecond
)

// sampleWindow measures the current window. Safe for concurrent use, except begin and result, which
// are for one goroutine at a time. A request that leaves while a window ends counts in one of
// the two.
type sampleWindow struct {
	number atomic.Uint32 // number of the window
	start  atomic.Int64
	end    atomic.Int64 // earliest end
	clip   atomic.Int64
	base   atomic.Int64
	busy   atomic.Int64 // as State.Busy
	cohort atomic.Int64 // number of requests that a probe measures; 0 for no probe

	_            [64]byte
	answers      mean
	clipped      atomic.Int64 // total latency above the clip
	peak         atomic.Int64
	drops        atomic.Int64
	refused      atomic.Int64
	urgent       atomic.Int64
	cohortSize   atomic.Int64 // requests of the cohort
	cohortClosed atomic.Int64 // when the cohort is closed
	probed       mean
	unmeasured   atomic.Int64 // requests of the cohort without a usable latency
}

// mean is a count and a sum of durations in one word, so that both change at once. It has
// room for a million durations and a sum of 200 days.
type mean struct{ atomic.Uint64 }

const sumBits = 44

func (m *mean) add(d time.Duration) { m.Add(1<<sumBits | uint64(max(0, d.Microseconds()))) }

// value returns the count and the mean.
func (m *mean) value() (n int, d time.Duration) {
	v := m.Load()
	n = int(v >> sumBits)
	if n > 0 {
		d = time.Duration(v&(1<<sumBits-1)) * time.Microsecond / time.Duration(n)
	}
	return n, d
}

// begin begins a window.
func (v *sampleWindow) begin(now time.Duration, s *State, inFlight int64) {
	length := min(max(s.Base, minWindow), maxWindow)
	if s.Probe > 0 {
		// First, most requests in flight have to complete, while critical ones still come. enter
		// sets the end of the probe.
		length = min(max(drainFactor*s.Drain(float64(inFlight)), minWindow), maxWindow)
		v.cohort.Store(int64(s.Cohort()))
		v.busy.Store(int64(s.Busy))
	} else {
		v.cohort.Store(0)
	}
	v.clip.Store(int64(s.Clip()))
	v.base.Store(int64(s.Base))
	v.answers.Store(0)
	v.clipped.Store(0)
	v.peak.Store(inFlight)
	v.drops.Store(0)
	v.refused.Store(0)
	v.urgent.Store(0)
	v.cohortSize.Store(0)
	v.cohortClosed.Store(math.MaxInt64)
	v.probed.Store(0)
	v.unmeasured.Store(0)
	v.start.Store(int64(now))
	v.end.Store(int64(now + length))
	v.number.Add(1)
}

// enter counts a new request, the n-th in flight. It returns the number of the window whose
// probe measures the request, or 0.
func (v *sampleWindow) enter(now time.Duration, n int64) uint32 {
	raise(&v.peak, n)
	c := v.cohort.Load()
	if c == 0 || n > v.busy.Load() || v.cohortSize.Load() >= c || int64(now) > v.cohortClosed.Load() {
		return 0
	}
	switch e := v.cohortSize.Add(1); {
	case e > c:
		return 0
	case e == 1:
		// The cohort is open for half the clip, and the window ends a full clip later, so
		// that each request has had that time.
		clip := max(time.Duration(v.clip.Load()), minProbe)
		v.cohortClosed.Store(int64(now + clip/2))
		v.end.Store(int64(now + clip/2 + clip))
	}
	return v.number.Load()
}

// raise sets max to n if it is lower.
func raise(max *atomic.Int64, n int64) {
	for {
		if current := max.Load(); n <= current || max.CompareAndSwap(current, n) {
			return
		}
	}
}

// refuse counts a request that came while the limit was reached.
func (v *sampleWindow) refuse(l Level) {
	v.refused.Add(1)
	if l == Critical {
		v.urgent.Add(1)
	}
}

// leave counts a completed request.
func (v *sampleWindow) leave(t Ticket, now time.Duration, o Outcome) {
	raw := now - t.start
	took := raw
	if clip := time.Duration(v.clip.Load()); clip > 0 {
		took = min(took, clip)
	}
	// A request whose client leaves sooner than the base is no latency sample.
	sampled := o == Answered || o == TimedOut && int64(took) >= v.base.Load()
	if sampled {
		v.answers.add(took)
		if raw > took {
			v.clipped.Add(int64(raw - took))
		}
	}
	if o == TimedOut && sampled || o == Rejected {
		v.drops.Add(1)
	}
	if t.probed != 0 && t.probed == v.number.Load() {
		if sampled {
			v.probed.add(took)
		} else {
			v.unmeasured.Add(1)
		}
	}
}

// due reports whether the window is over.
func (v *sampleWindow) due(now time.Duration) bool {
	late := int64(now) >= v.end.Load()
	if c := v.cohort.Load(); c > 0 {
		n, _ := v.probed.value()
		all := min(v.cohortSize.Load(), c)
		return late || int64(n)+v.unmeasured.Load() >= all && (all == c || int64(now) > v.cohortClosed.Load())
	}
	if !late {
		return false
	}
	n, _ := v.answers.value()
	start := v.start.Load()
	return n >= minAnswers || int64(now)-start >= maxWindows*(v.end.Load()-start)
}

// result returns the measurements so far.
func (v *sampleWindow) result(now time.Duration) Window {
	w := Window{
		End: now, Length: max(now-time.Duration(v.start.Load()), time.Microsecond),
		Drops: int(v.drops.Load()), Peak: int(v.peak.Load()),
		Refused: int(v.refused.Load()), Urgent: int(v.urgent.Load()),
	}
	w.Answers, w.Latency = v.answers.value()
	if w.Raw = w.Latency; w.Answers > 0 {
		w.Raw += time.Duration(v.clipped.Load()) / time.Duration(w.Answers)
	}
	w.Probed, w.ProbedLatency = v.probed.value()
	// Requests that are unanswered at the end of a probe count with the full clip.
	if open := min(v.cohortSize.Load(), v.cohort.Load()) - int64(w.Probed) - v.unmeasured.Load(); open > 0 && w.Probed > 0 {
		all := time.Duration(w.Probed)*w.ProbedLatency + time.Duration(open)*time.Duration(v.clip.Load())
		w.Probed += int(open)
		w.ProbedLatency = all / time.Duration(w.Probed)
	}
	return w
}
