// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Times are counted in classes of a logarithmic scale: 16 for each doubling between 65 µs and 73 minutes, so
// that a class is at most 6.25 % wide, and one class each for shorter and longer times.
const (
	subClassBits = 4
	firstOctave  = 16 // 2^16 ns
	lastOctave   = 42
	timeClasses  = 2 + (lastOctave-firstOctave)<<subClassBits
)

// classOf returns the class of a time.
func classOf(d time.Duration) int {
	octave := bits.Len64(uint64(max(d, 0))) - 1
	switch {
	case octave < firstOctave:
		return 0
	case octave >= lastOctave:
		return timeClasses - 1
	}
	sub := int(d>>(octave-subClassBits)) & (1<<subClassBits - 1)
	return 1 + (octave-firstOctave)<<subClassBits + sub
}

// endOf returns the exclusive upper bound of a class. The last class has none.
func endOf(class int) time.Duration {
	octave, sub := firstOctave+(class-1)>>subClassBits, (class-1)&(1<<subClassBits-1)
	if class == 0 {
		return 1 << firstOctave
	}
	return time.Duration(1<<subClassBits+sub+1) << (octave - subClassBits)
}

// Counts counts the outcomes of the attempts on the backends of a group. Every attempt counts, also one that
// failed and was retried. Safe for concurrent use.
type Counts struct {
	attempts, errors atomic.Uint64
	times            [timeClasses]atomic.Uint64
}

// Count counts an attempt that has ended, or whose response header has come; failed for an error.
func (c *Counts) Count(failed bool) {
	c.attempts.Add(1)
	if failed {
		c.errors.Add(1)
	}
}

// Observe counts the time of an attempt to its response header, or to its end if there was none.
func (c *Counts) Observe(d time.Duration) { c.times[classOf(d)].Add(1) }

// CountAnswer counts an attempt whose response header came after d, and reports whether it is an error: an HTTP
// status of 500 or above, or a gRPC error, whose equivalent HTTP status is equivalent; 0 for none.
func (c *Counts) CountAnswer(status, equivalent int, d time.Duration) (failed bool) {
	failed = status >= 500 || equivalent != 0
	c.Count(failed)
	if status != 101 { // the times of upgrades are not comparable with those of other requests
		c.Observe(d)
	}
	return failed
}

// CountEnd counts the end of an attempt after d that CountAnswer has not counted as an error. answered reports
// that CountAnswer was called, and late that the attempt has failed after its answer.
//
// An attempt without an answer is an error, also if its client has left: otherwise a group that hangs would
// have no errors. Clients that leave for other reasons leave the main group as often. It is not an error if it
// has not failed, and hedged reports that another attempt may have been answered first. A nil Counts counts
// nothing.
func (c *Counts) CountEnd(d time.Duration, answered, late, hedged bool) {
	switch {
	case c == nil, answered && !late:
	case answered:
		c.errors.Add(1)
	default:
		if late || !hedged {
			c.Count(true)
		}
		c.Observe(d)
	}
}

// Total returns the counts so far.
func (c *Counts) Total() (t Total) {
	t.Errors = c.errors.Load() // before the attempts, so that it never exceeds them
	t.Attempts = c.attempts.Load()
	for i := range c.times {
		t.times[i] = c.times[i].Load()
	}
	return t
}

// Attempts returns the number of attempts so far, and how many of them were errors.
func (c *Counts) Attempts() (attempts, errors uint64) {
	errors = c.errors.Load()
	return c.attempts.Load(), errors
}

// Total is the content of [Counts] at one time.
type Total struct {
	// Attempts is the number of attempts, and Errors how many of them were errors.
	Attempts, Errors uint64
	times            [timeClasses]uint64
}

// Since returns the counts since an earlier total.
func (t Total) Since(earlier *Total) Total {
	t.Attempts -= earlier.Attempts
	t.Errors = min(t.Errors-earlier.Errors, t.Attempts)
	for i := range t.times {
		t.times[i] -= earlier.times[i]
	}
	return t
}

// observed returns the number of times that were counted.
func (t *Total) observed() (n uint64) {
	for _, c := range t.times {
		n += c
	}
	return n
}

// Quantile returns the quantile q of the times, from 0 to 1, rounded up to the end of its class; 0 if there are
// no times.
func (t *Total) Quantile(q float64) time.Duration {
	rank, below := q*float64(t.observed()), uint64(0)
	for i, c := range t.times {
		if below += c; c > 0 && float64(below) >= rank {
			return endOf(min(i, timeClasses-2))
		}
	}
	return 0
}
