// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package latency measures the latency of a backend: exponentially weighted moving averages,
// peaks, averages by load, and a histogram.
package latency

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// Averaging is the decay time of averages while samples come. It is short, so that averages
	// follow a backend that becomes slow.
	Averaging = time.Second
	// Decay is the decay time of an average without new samples. It is long, so that a slow backend
	// is not tried often.
	Decay = 10 * time.Second
)

// Tracker measures the latency of a backend from its attempts. Safe for concurrent use.
type Tracker struct {
	// Header is the average time to the response header.
	Header EWMA
	// Body is the average time to the first byte of the response body.
	Body EWMA
	// LastByte is the average time to the end of a response.
	LastByte EWMA
	Failures

	peak   atomic.Pointer[Peak] // nil until requested
	byLoad atomic.Pointer[ByLoad]
}

// Peak is a peak-sensitive average with its own decay time.
type Peak struct {
	EWMA
	// Decay is the time in which a peak decays by a factor of e.
	Decay time.Duration
	// Body reports that the samples are times to the first byte of the body, not to the header.
	Body bool
	next *Peak
}

// PeakOf returns the average for a decay time, which is maintained from now on: of the times to
// the header, or with body to the first byte of the body.
func (l *Tracker) PeakOf(decay time.Duration, body bool) *Peak {
	for {
		first := l.peak.Load()
		for p := first; p != nil; p = p.next {
			if p.Decay == decay && p.Body == body {
				return p
			}
		}
		p := &Peak{Decay: decay, Body: body, next: first}
		if l.peak.CompareAndSwap(first, p) {
			return p
		}
	}
}

// ByLoad is the average time to the header for each number of requests that were in flight when
// the attempt began (Prequal, NSDI 2024). So a backend that is fast because it is idle does not
// count as fast under load.
type ByLoad struct {
	classes         [loadClasses]EWMA
	unansweredSince atomic.Int64 // since when requests wait without an answer to any, as of clock.Now; 0 if none waits

	_ [7]uint64 // pads the size so that classes begin with a cache line
}

// UnansweredFor returns how long requests have waited without an answer to any of them; 0 if none
// waits.
func (b *ByLoad) UnansweredFor(now time.Duration) time.Duration {
	if since := b.unansweredSince.Load(); since != 0 {
		return now - time.Duration(since)
	}
	return 0
}

// loadClasses is the number of load classes: one for each load up to 7, and then two for each
// doubling, up to 2,000.
const loadClasses = 24

func loadClass(load int) int {
	if load < 8 {
		return max(load, 0)
	}
	octave := bits.Len(uint(load)) - 1
	return min(8+(octave-3)*2+load>>(octave-1)&1, loadClasses-1)
}

// ByLoad returns the averages by load, which are maintained from now on.
func (l *Tracker) ByLoad() *ByLoad {
	if b := l.byLoad.Load(); b != nil {
		return b
	}
	l.byLoad.CompareAndSwap(nil, new(ByLoad))
	return l.byLoad.Load()
}

// fresh is the age up to which a sample at a similar load is preferred to an older one at the given
// load (Prequal's age limit of a probe). stale is the age from which samples under load are
// ignored.
const (
	fresh = time.Second
	stale = 5 * time.Second
)

// At returns the average, in nanoseconds, at the given load, or at the nearest load with a fresh
// sample. Stale samples count only for a load of at most 1: one request is enough to measure the
// backend again. It is 0 without such samples.
func (b *ByLoad) At(load int, now time.Duration) float64 {
	for _, oldest := range [...]time.Duration{fresh, stale} {
		if v := b.nearest(load, now, oldest); v > 0 {
			return v
		}
	}
	if load > 1 {
		return 0
	}
	return b.nearest(load, now, math.MaxInt64)
}

func (b *ByLoad) nearest(load int, now, oldest time.Duration) float64 {
	class, ticks := loadClass(load), ticksAt(now)
	value := func(c int) float64 {
		if c < 0 || c >= loadClasses {
			return 0
		}
		word := b.classes[c].word.Load()
		if _, then, _ := unpack(word); word == 0 || age(then, ticks) > oldest {
			return 0
		}
		return b.classes[c].Value(now, Decay)
	}
	for d := range loadClasses {
		if v := value(class - d); v > 0 {
			return v
		}
		if v := value(class + d); v > 0 {
			return v
		}
	}
	return 0
}

// ObserveHeader records the time to the header of a successful response.
func (l *Tracker) ObserveHeader(now, d time.Duration, load int) {
	l.Header.Observe(now, d, Averaging)
	l.observePeak(now, d, false)
	if b := l.byLoad.Load(); b != nil {
		b.classes[loadClass(load)].Observe(now, d, Averaging)
	}
}

// ObserveBody records the time to the first byte of the body of a successful response.
func (l *Tracker) ObserveBody(now, d time.Duration) {
	l.Body.Observe(now, d, Averaging)
	l.observePeak(now, d, true)
}

// ObserveBodyAtLeast records that the time to the first byte of the body would have been longer
// than d.
func (l *Tracker) ObserveBodyAtLeast(now, d time.Duration) {
	l.Body.RaiseTo(now, d, Averaging, Decay)
	for p := l.peak.Load(); p != nil; p = p.next {
		if p.Body {
			p.RaiseTo(now, d, p.Decay, p.Decay)
		}
	}
}

func (l *Tracker) observePeak(now, d time.Duration, body bool) {
	for p := l.peak.Load(); p != nil; p = p.next {
		if p.Body == body {
			p.ObservePeak(now, d, p.Decay)
		}
	}
}

// Restart resets the failures of a recovered backend, and replaces its latencies by a sample, or
// removes them if d is 0. Otherwise the earlier latencies would keep requests away for several
// decay times.
func (l *Tracker) Restart(now, d time.Duration, load int) {
	l.Forgive()
	l.Header.reset()
	l.Body.reset()
	l.LastByte.reset()
	for p := l.peak.Load(); p != nil; p = p.next {
		p.reset()
	}
	if b := l.byLoad.Load(); b != nil {
		for i := range b.classes {
			b.classes[i].reset()
		}
	}
	if d > 0 {
		l.ObserveHeader(now, d, load)
	}
}

// ObserveAtLeast records that the time to a header would have been longer than d.
func (l *Tracker) ObserveAtLeast(now, d time.Duration) {
	if float64(d) > l.Header.Value(now, Decay) {
		l.observeWait(now, d)
	}
}

// ObserveBegin records that an attempt begins.
func (l *Tracker) ObserveBegin(now time.Duration) {
	l.Failures.begin(now)
	if b := l.byLoad.Load(); b != nil && b.unansweredSince.Load() == 0 {
		b.unansweredSince.CompareAndSwap(0, int64(now))
	}
}

// ObserveProgress records that an attempt no longer waits. answered reports whether the backend has
// answered it; waiting is the number of other attempts that wait. Concurrent calls may be out of
// order; the next call corrects the result.
func (l *Tracker) ObserveProgress(now time.Duration, answered bool, waiting int64) {
	switch b := l.byLoad.Load(); {
	case b == nil:
	case waiting <= 0:
		b.unansweredSince.Store(0)
	case answered:
		b.unansweredSince.Store(int64(now))
	}
}

// RaiseTo records that a sample would have been more than d. It raises an average at once, but
// never lowers it: an average below d is known to be wrong. The true value is unknown; 2*d is the
// estimate with the least error factor in both directions.
func (e *EWMA) RaiseTo(now, d, decay, fading time.Duration) {
	if float64(d) > e.Value(now, fading) {
		e.ObservePeak(now, 2*d, decay)
	}
}
