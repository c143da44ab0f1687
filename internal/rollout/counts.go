// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Times are counted in classes of a logarithmic scale: 16 for each doubling from 65 µs to 73
// minutes, so that a class is at most 6.25 % wide, one below and one above.
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

// endOf returns the end of a class, which does not belong to it. The last class has none.
func endOf(class int) time.Duration {
	octave, sub := firstOctave+(class-1)>>subClassBits, (class-1)&(1<<subClassBits-1)
	if class == 0 {
		return 1 << firstOctave
	}
	return time.Duration(1<<subClassBits+sub+1) << (octave - subClassBits)
}

// Counts counts the outcomes of the attempts on the backends of a group. An attempt counts for
// itself, whether or not a further one hides it from the client. Safe for concurrent use.
type Counts struct {
	attempts, errors atomic.Uint64
	times            [timeClasses]atomic.Uint64
}

// Count counts an attempt that was answered or has ended, and whether it is an error.
func (c *Counts) Count(wrong bool) {
	c.attempts.Add(1)
	if wrong {
		c.errors.Add(1)
	}
}

// Observe counts how long an attempt took to its response header or, if it was given up before, how
// long it waited.
func (c *Counts) Observe(d time.Duration) { c.times[classOf(d)].Add(1) }

// CountAnswer counts an attempt that was answered after d, with an HTTP status. equivalent is the status
// that a gRPC error amounts to, or 0. wrong says that the answer is an error.
func (c *Counts) CountAnswer(status, equivalent int, d time.Duration) (wrong bool) {
	wrong = status >= 500 || equivalent != 0
	c.Count(wrong)
	if status != 101 { // the time of an upgrade is that of another kind of request
		c.Observe(d)
	}
	return wrong
}

// CountEnd counts the end of an attempt after d that was not counted as an error. late says that it has
// failed after its answer. An attempt without an answer is an error, also if its client has left: a
// group that hangs would have no errors otherwise, and clients leave the other groups as well. It is
// none if it has not failed and another attempt may have been answered first, which hedged says. A nil
// Counts counts nothing.
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
	t.Errors = c.errors.Load() // first, so that there are never more of them than attempts
	t.Attempts = c.attempts.Load()
	for i := range c.times {
		t.times[i] = c.times[i].Load()
	}
	return t
}

// Attempts returns the number of attempts so far, and that of the errors among them.
func (c *Counts) Attempts() (attempts, errors uint64) {
	errors = c.errors.Load()
	return c.attempts.Load(), errors
}

// Total is the content of [Counts] at one time.
type Total struct {
	// Attempts is the number of attempts, and Errors that of the errors among them.
	Attempts, Errors uint64
	times            [timeClasses]uint64
}

// Since returns what was counted after an earlier total.
func (t Total) Since(earlier *Total) Total {
	t.Attempts -= earlier.Attempts
	t.Errors = min(t.Errors-earlier.Errors, t.Attempts)
	for i := range t.times {
		t.times[i] -= earlier.times[i]
	}
	return t
}

// timed returns the number of times.
func (t *Total) timed() (n uint64) {
	for _, c := range t.times {
		n += c
	}
	return n
}

// Quantile returns the time below which the share q of the times is, rounded up to the end of its
// class; 0 if there are no times.
func (t *Total) Quantile(q float64) time.Duration {
	rank, below := q*float64(t.timed()), uint64(0)
	for i, c := range t.times {
		if below += c; c > 0 && float64(below) >= rank {
			return endOf(min(i, timeClasses-2))
		}
	}
	return 0
}
