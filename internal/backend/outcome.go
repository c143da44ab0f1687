// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Outcome is what became of one attempt to have a backend answer.
type Outcome struct {
	// Status is the status of the response, or 0 if there was none.
	Status int
	// Err is what ended the attempt early, or nil: the transport's error, or
	// that of reading the response's body.
	Err error
	// ClientGone says that the client went away first, so that Err is not
	// the backend's doing.
	ClientGone bool
	// FirstByte is the time until the response's header, or until the error.
	FirstByte time.Duration
	// LastByte is the time until the end of the response's body.
	LastByte time.Duration
}

// Failed reports whether the backend failed the attempt: no response, or one
// that broke off. A status is not a failure by itself.
func (o Outcome) Failed() bool {
	return o.Err != nil && !o.ClientGone && !errors.Is(o.Err, context.Canceled)
}

// Counters count the attempts on one backend. Safe for concurrent use; each
// counter is consistent by itself.
type Counters struct {
	begun     atomic.Int64
	byStatus  [6]atomic.Int64 // attempts that ended, by the first digit; 0 for none
	firstByte atomic.Int64    // sum, in nanoseconds
	lastByte  atomic.Int64
	failed    atomic.Int64
	gone      atomic.Int64
}

// Begin counts an attempt that is about to be made.
func (c *Counters) Begin() { c.begun.Add(1) }

// End counts what became of an attempt. It must follow each Begin once.
func (c *Counters) End(o Outcome) {
	class := o.Status / 100
	if class < 0 || class >= len(c.byStatus) {
		class = 0
	}
	switch {
	case o.Failed():
		c.failed.Add(1)
	case o.Err != nil:
		c.gone.Add(1)
	}
	if o.Status != 0 {
		c.firstByte.Add(int64(o.FirstByte))
		c.lastByte.Add(int64(o.LastByte))
	}
	c.byStatus[class].Add(1)
}

// Totals are the counts of one backend since it was first leased.
type Totals struct {
	// Requests is the number of attempts begun.
	Requests int64
	// InFlight is the number of attempts that have not ended; a response
	// whose body still streams has not.
	InFlight int64
	// Failures is the number of attempts that got no complete response, for
	// which the client is not to blame.
	Failures int64
	// ClientGone is the number of attempts that the client abandoned.
	ClientGone int64
	// Responses is the number of responses by the first digit of the status;
	// index 0 counts attempts without one.
	Responses [6]int64
	// FirstByte and LastByte are the summed times of the attempts that got a
	// response.
	FirstByte, LastByte time.Duration
}

// Totals returns the counts so far.
func (c *Counters) Totals() Totals {
	var t Totals
	for i := range t.Responses { // before begun, so that InFlight is never negative
		t.Responses[i] = c.byStatus[i].Load()
		t.InFlight -= t.Responses[i]
	}
	t.Requests = c.begun.Load()
	t.InFlight += t.Requests
	t.Failures, t.ClientGone = c.failed.Load(), c.gone.Load()
	t.FirstByte, t.LastByte = time.Duration(c.firstByte.Load()), time.Duration(c.lastByte.Load())
	return t
}
