// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Outcome is what became of a request.
type Outcome int

// The outcomes.
const (
	// Answered in time.
	Answered Outcome = iota
	// Refused: told that there is no room.
	Refused
	// TimedOut: the client has left.
	TimedOut
	// Failed in any other way.
	Failed
	outcomes
)

// Result is what became of those that count. It is for one goroutine.
type Result struct {
	// Length is how long they were sent for.
	Length time.Duration
	// Unsent and Late are those that the generator could not send, or not in time.
	Unsent, Late int
	counts       [outcomes]int
	latency      *hdrhistogram.Histogram // of those that were answered, in microseconds
}

// NewResult returns one of no requests.
func NewResult() *Result {
	return &Result{latency: hdrhistogram.New(1, time.Hour.Microseconds(), 3)}
}

func (r *Result) add(o Outcome, took time.Duration, late bool) {
	r.counts[o]++
	if late {
		r.Late++
	}
	if o == Answered {
		_ = r.latency.RecordValue(max(1, took.Microseconds())) // what is beyond an hour is not recorded
	}
}

// Merge adds those of another.
func (r *Result) Merge(other *Result) {
	r.Length += other.Length
	r.Unsent += other.Unsent
	r.Late += other.Late
	for o, n := range other.counts {
		r.counts[o] += n
	}
	r.latency.Merge(other.latency)
}

// Count returns how many ended so.
func (r *Result) Count(o Outcome) int { return r.counts[o] }

// Due returns how many were to be sent.
func (r *Result) Due() int {
	sum := r.Unsent
	for _, n := range r.counts {
		sum += n
	}
	return sum
}

// Rate returns so many as a number a second.
func (r *Result) Rate(n int) float64 { return float64(n) / r.Length.Seconds() }

// Latency returns a quantile, from 0 to 1, of the time that answers took from when
// their request was due; 0 if there was none.
func (r *Result) Latency(q float64) time.Duration {
	return time.Duration(r.latency.ValueAtQuantile(100*q)) * time.Microsecond
}
