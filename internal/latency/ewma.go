// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package latency

import (
	"math"
	"strconv"
	"sync/atomic"
	"time"
)

// EWMA is an exponentially weighted moving average of durations. The weight of a sample falls by
// a factor of e in the decay time. The first samples have equal weights, so that an extreme first
// one does not dominate for long. The zero value has no samples. Safe for concurrent use, without
// locks: value, time and the number of first samples share one word, and change together.
type EWMA struct{ word atomic.Uint64 }

// The word: 32 bits of float32, the value in nanoseconds; 26 bits of time, in ticks, which wrap
// around every 4.6 hours; 6 bits of count. The idle time of a backend that has been idle for
// longer is underestimated.
const (
	tick      = 250 * time.Microsecond
	tickBits  = 26
	countBits = 6
	maxCount  = 1<<countBits - 1
)

func pack(value float32, ticks, count uint64) uint64 {
	return uint64(math.Float32bits(value))<<32 | ticks<<countBits | count
}

func unpack(word uint64) (value float32, ticks, count uint64) {
	return math.Float32frombits(uint32(word >> 32)), word >> countBits & (1<<tickBits - 1), word & maxCount
}

func ticksAt(now time.Duration) uint64 { return uint64(now/tick) & (1<<tickBits - 1) }

// age returns the time between two tick counts. It returns 0 if to is before from, since two
// goroutines may observe at the same time.
func age(from, to uint64) time.Duration {
	d := (to - from) & (1<<tickBits - 1)
	if d > 1<<(tickBits-1) {
		return 0
	}
	return time.Duration(d) * tick
}

// fade approximates exp(-age/decay), from 1 to above 0, with two divisions: it computes an eighth
// of the exponent from the first terms of the series, and takes the eighth power.
func fade(age, decay time.Duration) float64 {
	x := float64(age) / float64(decay) / 8
	f := 1 / (1 + x + x*x/2)
	f *= f
	f *= f
	return f * f
}

// Observe adds a sample.
func (e *EWMA) Observe(now, sample, decay time.Duration) {
	e.update(now, float32(sample), func(old float32, fade float64, count uint64) float32 {
		alpha := 1 - fade
		if count < maxCount {
			alpha = max(alpha, 1/float64(count+1))
		}
		return old + float32(alpha)*(float32(sample)-old)
	}, decay)
}

// ObservePeak adds a sample. A sample above the average replaces it at once; the weight of one
// below depends on the age of the average (Finagle's peak EWMA).
func (e *EWMA) ObservePeak(now, sample, decay time.Duration) {
	e.update(now, float32(sample), func(old float32, fade float64, _ uint64) float32 {
		return max(float32(sample), old*float32(fade)+float32(sample)*float32(1-fade))
	}, decay)
}

func (e *EWMA) update(now time.Duration, first float32, next func(old float32, fade float64, count uint64) float32, decay time.Duration) {
	ticks := ticksAt(now)
	for {
		word := e.word.Load()
		value, latest, count := first, ticks, uint64(1)
		if word != 0 {
			old, then, n := unpack(word)
			value, count = next(old, fade(age(then, ticks), decay), n), min(n+1, maxCount)
			if age(then, ticks) == 0 {
				latest = then // the later of the two
			}
		}
		if e.word.CompareAndSwap(word, pack(value, latest, count)) {
			return
		}
	}
}

// Reader reads many averages at one time. It needs no division for each.
type Reader struct{ ticks uint64 }

// NewReader returns a Reader of averages with the decay time [Decay].
func NewReader(now time.Duration) Reader { return Reader{ticksAt(now)} }

// fades holds the fade factors by age in steps of a quarter of a second, up to a minute.
var fades = func() (table [256]float64) {
	for i := range table {
		table[i] = fade(time.Duration(i)<<fadeShift*tick, Decay)
	}
	return table
}()

const fadeShift = 10 // of ticks

// Value is as [EWMA.Value], within 3 %.
func (r Reader) Value(e *EWMA) float64 {
	word := e.word.Load()
	value, then, _ := unpack(word)
	return float64(value) * fades[min(uint64(age(then, r.ticks)/tick)>>fadeShift, uint64(len(fades)-1))]
}

// Value returns the average in nanoseconds, faded by the time since the last sample, so that a
// backend that was slow long ago gets requests again. It is 0 if there are no samples.
func (e *EWMA) Value(now, decay time.Duration) float64 {
	word := e.word.Load()
	if word == 0 {
		return 0
	}
	value, then, _ := unpack(word)
	return float64(value) * fade(age(then, ticksAt(now)), decay)
}

// reset removes all samples.
func (e *EWMA) reset() { e.word.Store(0) }

// MaxRecordedSeconds limits a recorded average, in seconds.
const MaxRecordedSeconds = 3600

// averageAge is the age of the latest sample up to which an average is recorded.
const averageAge = 10 * time.Minute

// Record returns the average as of its latest sample, in seconds and rounded to two digits; 0 for
// none. It does not change while the backend is idle.
func (e *EWMA) Record(now time.Duration) float64 {
	word := e.word.Load()
	value, then, _ := unpack(word)
	if word == 0 || age(then, ticksAt(now)) > averageAge {
		return 0
	}
	seconds := min(float64(value)/float64(time.Second), MaxRecordedSeconds)
	if !(seconds >= 1e-9) {
		return 0
	}
	seconds, _ = strconv.ParseFloat(strconv.FormatFloat(seconds, 'g', 2, 64), 64)
	return seconds
}

// Restore sets the average as by one sample at now, unless there is a sample already.
func (e *EWMA) Restore(now time.Duration, seconds float64) {
	if seconds > 0 {
		e.word.CompareAndSwap(0, pack(float32(seconds*float64(time.Second)), ticksAt(now), 1))
	}
}
