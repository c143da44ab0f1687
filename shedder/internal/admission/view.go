// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// A window is as long as an answer takes, within these bounds, and has at
	// least so many answers; if they do not come, it is tenWindows long.
	minWindow, maxWindow = 100 * time.Millisecond, time.Second
	minAnswers           = 30
	tenWindows           = 10
	drainFactor          = 10
	// minProbe is what the requests of a probe have at least.
	minProbe = 10 * time.Millisecond
)

// view is what is seen of the current window. Safe for concurrent use, but for
// begin and window, which one goroutine at a time calls. A request that leaves
// while a window ends counts in one of both.
type view struct {
	number atomic.Uint32 // of the window
	start  atomic.Int64
	end    atomic.Int64 // not before
	clip   atomic.Int64
	base   atomic.Int64
	few    atomic.Int64 // in flight, so that nothing waits
	cohort atomic.Int64 // how many a probe measures; 0 for no probe

	_       [64]byte
	answers mean
	cut     atomic.Int64 // what was cut off of their times
	peak    atomic.Int64
	drops   atomic.Int64
	refused atomic.Int64
	urgent  atomic.Int64
	entered atomic.Int64 // of the cohort
	shut    atomic.Int64 // until when
	probed  mean
	void    atomic.Int64 // of the cohort, those that say nothing
}

// mean is a number of times and their sum, in one word: both change at once. It
// has room for a million times and a sum of 200 days.
type mean struct{ atomic.Uint64 }

const sumBits = 44

func (m *mean) add(d time.Duration) { m.Add(1<<sumBits | uint64(max(0, d.Microseconds()))) }

// value returns the number of times, and their mean.
func (m *mean) value() (n int, d time.Duration) {
	v := m.Load()
	n = int(v >> sumBits)
	if n > 0 {
		d = time.Duration(v&(1<<sumBits-1)) * time.Microsecond / time.Duration(n)
	}
	return n, d
}

// begin begins a window.
func (v *view) begin(now time.Duration, s *State, inFlight int64) {
	length := min(max(s.Base, minWindow), maxWindow)
	if s.Probe > 0 {
		// First most of what is in flight has to leave, while critical requests
		// still come; all are busy as long as it takes. See enter for the rest.
		length = min(max(drainFactor*s.Drain(float64(inFlight)), minWindow), maxWindow)
		v.cohort.Store(int64(s.Cohort()))
		v.few.Store(int64(s.Busy))
	} else {
		v.cohort.Store(0)
	}
	v.clip.Store(int64(s.Clip()))
	v.base.Store(int64(s.Base))
	v.answers.Store(0)
	v.cut.Store(0)
	v.peak.Store(inFlight)
	v.drops.Store(0)
	v.refused.Store(0)
	v.urgent.Store(0)
	v.entered.Store(0)
	v.shut.Store(math.MaxInt64)
	v.probed.Store(0)
	v.void.Store(0)
	v.start.Store(int64(now))
	v.end.Store(int64(now + length))
	v.number.Add(1)
}

// enter counts that n are in flight with a new one, and returns the window whose
// probe measures it, or 0.
func (v *view) enter(now time.Duration, n int64) uint32 {
	raise(&v.peak, n)
	c := v.cohort.Load()
	if c == 0 || n > v.few.Load() || v.entered.Load() >= c || int64(now) > v.shut.Load() {
		return 0
	}
	switch e := v.entered.Add(1); {
	case e > c:
		return 0
	case e == 1:
		// They come for half the time that one may take, so that at the end each
		// has had that time.
		clip := max(time.Duration(v.clip.Load()), minProbe)
		v.shut.Store(int64(now + clip/2))
		v.end.Store(int64(now + clip/2 + clip))
	}
	return v.number.Load()
}

// raise makes max no less than n.
func raise(max *atomic.Int64, n int64) {
	for {
		if at := max.Load(); n <= at || max.CompareAndSwap(at, n) {
			return
		}
	}
}

// refuse counts that a request found no room.
func (v *view) refuse(l Level) {
	v.refused.Add(1)
	if l == Critical {
		v.urgent.Add(1)
	}
}

// leave counts a request that is over.
func (v *view) leave(t Ticket, now time.Duration, o Outcome) {
	raw := now - t.start
	took := raw
	if clip := time.Duration(v.clip.Load()); clip > 0 {
		took = min(took, clip)
	}
	// A client that leaves before anybody is answered shows nothing.
	shows := o == Answered || o == Late && int64(took) >= v.base.Load()
	if shows {
		v.answers.add(took)
		if raw > took {
			v.cut.Add(int64(raw - took))
		}
	}
	if o == Late && shows || o == Turned {
		v.drops.Add(1)
	}
	if t.probed != 0 && t.probed == v.number.Load() {
		if shows {
			v.probed.add(took)
		} else {
			v.void.Add(1)
		}
	}
}

// due reports whether the window is over.
func (v *view) due(now time.Duration) bool {
	late := int64(now) >= v.end.Load()
	if c := v.cohort.Load(); c > 0 {
		n, _ := v.probed.value()
		all := min(v.entered.Load(), c)
		return late || int64(n)+v.void.Load() >= all && (all == c || int64(now) > v.shut.Load())
	}
	if !late {
		return false
	}
	n, _ := v.answers.value()
	start := v.start.Load()
	return n >= minAnswers || int64(now)-start >= tenWindows*(v.end.Load()-start)
}

// window returns what was seen until now.
func (v *view) window(now time.Duration) Window {
	w := Window{
		End: now, Length: max(now-time.Duration(v.start.Load()), time.Microsecond),
		Drops: int(v.drops.Load()), Peak: int(v.peak.Load()),
		Refused: int(v.refused.Load()), Urgent: int(v.urgent.Load()),
	}
	w.Answers, w.Latency = v.answers.value()
	if w.Raw = w.Latency; w.Answers > 0 {
		w.Raw += time.Duration(v.cut.Load()) / time.Duration(w.Answers)
	}
	w.Probed, w.ProbedLatency = v.probed.value()
	// What has not come by the end of a probe has taken as long as it may.
	if open := min(v.entered.Load(), v.cohort.Load()) - int64(w.Probed) - v.void.Load(); open > 0 && w.Probed > 0 {
		all := time.Duration(w.Probed)*w.ProbedLatency + time.Duration(open)*time.Duration(v.clip.Load())
		w.Probed += int(open)
		w.ProbedLatency = all / time.Duration(w.Probed)
	}
	return w
}
