// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"slices"
	"sync/atomic"
	"time"
)

// Drop is the cause for which a request was not mirrored although the policy selected it.
type Drop string

// The causes of drops.
const (
	AtLimit    Drop = "in_flight"  // too many copies are in flight
	TooLarge   Drop = "body"       // the body is larger than its bound
	Incomplete Drop = "incomplete" // the body was not read to its end
	Ended      Drop = "ended"      // the configuration has ended
)

// Drops lists all causes.
var Drops = [...]Drop{AtLimit, TooLarge, Incomplete, Ended}

// Result is the result of a copy that was sent.
type Result string

// The results of copies.
const (
	Answered  Result = "answered"  // there was an answer, whatever its status
	Failed    Result = "failed"    // no connection, or it broke
	TimedOut  Result = "timeout"   // no answer in time
	Cancelled Result = "cancelled" // the configuration has ended
)

// Results lists all results.
var Results = [...]Result{Answered, Failed, TimedOut, Cancelled}

// CopyCounters count copies. Safe for concurrent use. The zero value is ready.
type CopyCounters struct {
	inFlight  atomic.Int64
	drops     [len(Drops)]atomic.Int64
	results   [len(Results)]atomic.Int64
	classes   [6]atomic.Int64 // of the statuses of answers, by their first digit; 0 for others
	same      atomic.Int64
	different atomic.Int64
	mainNanos atomic.Int64 // the sums of the times of the compared
	copyNanos atomic.Int64
}

func (c *CopyCounters) drop(why Drop)   { c.drops[slices.Index(Drops[:], why)].Add(1) }
func (c *CopyCounters) result(r Result) { c.results[slices.Index(Results[:], r)].Add(1) }

func (c *CopyCounters) answer(status int) {
	class := status / 100
	if class >= len(c.classes) {
		class = 0
	}
	c.classes[class].Add(1)
}

func (c *CopyCounters) compare(x *comparison) {
	if x.main.status == x.copy.status {
		c.same.Add(1)
	} else {
		c.different.Add(1)
	}
	c.mainNanos.Add(int64(max(0, x.main.at-x.began)))
	c.copyNanos.Add(int64(x.copy.at - x.began))
}

// CopyTotals are the counts so far.
type CopyTotals struct {
	// InFlight is the number of copies in flight, including those whose body is being read.
	InFlight int64
	// Dropped counts the selected requests that were not mirrored, by cause.
	Dropped map[Drop]int64
	// Results counts the copies that were sent, by result.
	Results map[Result]int64
	// Classes counts the answers by the first digit of their status.
	Classes [6]int64
	// Same and Different count the copies whose answer had the same status as the answer to the request,
	// and a different one.
	Same, Different int64
	// Main and Copy are the total times to the header of the answers to these requests and to their
	// copies, from when the request was read to its end.
	Main, Copy time.Duration
}

// Totals returns the counts.
func (c *CopyCounters) Totals() CopyTotals {
	t := CopyTotals{
		InFlight: c.inFlight.Load(), Dropped: make(map[Drop]int64), Results: make(map[Result]int64),
		Same: c.same.Load(), Different: c.different.Load(),
		Main: time.Duration(c.mainNanos.Load()), Copy: time.Duration(c.copyNanos.Load()),
	}
	for i, why := range Drops {
		t.Dropped[why] = c.drops[i].Load()
	}
	for i, r := range Results {
		t.Results[r] = c.results[i].Load()
	}
	for i := range c.classes {
		t.Classes[i] = c.classes[i].Load()
	}
	return t
}
