// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

// Attempt is what is known of one attempt to have a backend answer. Times are
// those of [Now].
type Attempt struct {
	// Start is when it was made.
	Start time.Duration
	// Load is the number of requests in flight then, this one included.
	Load int
	// Status is the status of the response, or 0 while there is none.
	Status int
	// FirstByte is the time from the start to the header of the response.
	FirstByte time.Duration
	// RetryAfter is what a response that refuses the request asks for, or 0.
	RetryAfter time.Duration
	// Error is the status that a response amounts to whose own says nothing, as
	// that of gRPC errors; 0 for none.
	Error int
	// Exempt is why its end says nothing of the backend; [NoFailure] if it does.
	Exempt Failure
	// Affinity is what binds it to the backend.
	Affinity Affinity
	// Slot says that it has a slot of the backend already.
	Slot bool

	trial bool // of a backend that was ejected
}

// penalty returns what is recorded instead of the latency of a response that
// refuses or fails the request, or 0 for other responses.
func (a *Attempt) penalty() time.Duration {
	if a.Status != http.StatusTooManyRequests && a.Status < http.StatusInternalServerError {
		return 0
	}
	if a.RetryAfter > 0 {
		return min(a.RetryAfter, latency.MaxPenalty)
	}
	return latency.Penalty
}

// Counters count the attempts on one backend. Safe for concurrent use; each
// counter is consistent by itself.
type Counters struct {
	begun      atomic.Int64
	answered   atomic.Int64 // attempts that got the header of a response
	answeredAt atomic.Int64 // when the latest of them did, as of Now
	firstByte  atomic.Int64 // sum, in nanoseconds
	lastByte   atomic.Int64
	byStatus   [6]atomic.Int64 // attempts that ended, by the first digit; 0 for none

	slow     atomic.Int64           // answers that took long, where stalls are looked for
	timedOut atomic.Int64           // attempts given up without a header after as long, likewise
	failed   [failures]atomic.Int64 // of NoFailure: those with a response that says that the backend has failed
	gone     atomic.Int64
	retried  atomic.Int64 // of begun, those that were not the first of their request

	bound *boundCounters // of them, those that a key or a session has brought
}

// Begin counts an attempt that is about to be made.
func (s *State) Begin() { s.begun.Add(1) }

// CountRetry counts an attempt that is not the first of its request.
func (c *Counters) CountRetry() { c.retried.Add(1) }

// ended returns the attempts that ended and say something of the backend.
func (c *Counters) ended() (n int64) {
	for i := range c.byStatus {
		n += c.byStatus[i].Load()
	}
	for f := range c.failed {
		if Failure(f).blameless() {
			n -= c.failed[f].Load()
		}
	}
	return n - c.gone.Load()
}

// Waiting returns the attempts that wait for the header of a response.
func (c *Counters) Waiting() int64 {
	n := -c.answered.Load() - c.byStatus[0].Load()
	return n + c.begun.Load()
}

// AttemptCounts counts attempts of one kind.
type AttemptCounts struct {
	// Begun and Ended count attempts, and those that wait for no header any more:
	// they got one, or ended without.
	Begun, Ended int64
	// Quick counts the headers that came in time, where stalls are looked for.
	Quick int64
	// TimedOut counts attempts that their clients gave up, after a time in which
	// they would have been answered.
	TimedOut int64
}

// Progress is how far the attempts on a backend have come, in all.
type Progress struct {
	AttemptCounts
	// Unbound are those that neither a key nor a session has brought.
	Unbound AttemptCounts
	// Answered counts attempts that got the header of a response.
	Answered int64
	// AnsweredAt is when the latest was answered, as of [Now]; 0 for never.
	AnsweredAt time.Duration
}

// Progress returns how far the attempts have come.
func (c *Counters) Progress() Progress {
	p := Progress{AnsweredAt: time.Duration(c.answeredAt.Load()), Answered: c.answered.Load()}
	b := c.bound
	bound := AttemptCounts{Ended: b.ended.Load(), Quick: b.quick.Load(), TimedOut: b.timedOut.Load()}
	p.Ended = p.Answered + c.byStatus[0].Load()
	// Slow ones are counted first and read last, so that none seems quick.
	p.Quick, p.TimedOut = p.Answered-c.slow.Load(), c.timedOut.Load()
	bound.Begun = b.begun.Load()
	p.Begun = c.begun.Load()
	p.Unbound = AttemptCounts{p.Begun - bound.Begun, p.Ended - bound.Ended, p.Quick - bound.Quick, p.TimedOut - bound.TimedOut}
	return p
}

// Outcomes returns the attempts that ended well, and the errors, of which an
// attempt that only its client gave up is none.
func (s *State) Outcomes() (good, bad int64) {
	bad = s.errors.Load()
	return max(0, s.ended()-bad), bad
}

// Answer records that an attempt got the header of a response.
func (s *State) Answer(a *Attempt) {
	now := a.Start + a.FirstByte
	s.answered.Add(1)
	s.answeredAt.Store(int64(now))
	s.firstByte.Add(int64(a.FirstByte))
	s.Histogram.Observe(now, a.FirstByte)
	d := a.penalty()
	if d == 0 {
		d = a.FirstByte
	}
	s.ObserveHeader(now, d, a.Load)
	s.ObserveProgress(now, true, s.Waiting())
	s.ObserveResult(now, a.penalty() > 0)
}

// End counts what became of an attempt: err is what ended it early, or nil, and
// clientGone says that the client went away first, so that err is not the
// backend's doing. It returns what err counts as, if it does. It must follow each
// Begin once.
func (s *State) End(a *Attempt, now time.Duration, err error, clientGone bool) (counted Failure) {
	class := a.Status / 100
	if class < 0 || class >= len(s.byStatus) {
		class = 0
	}
	if a.Status != 0 {
		s.lastByte.Add(int64(now - a.Start))
	}
	switch clientGone = clientGone || errors.Is(err, context.Canceled); {
	case err != nil && clientGone:
		s.gone.Add(1)
		if a.Status == 0 {
			s.ObserveAtLeast(now, now-a.Start, a.Load)
		} else if a.Status != http.StatusSwitchingProtocols {
			s.Body.RaiseTo(now, now-a.Start, latency.Averaging, latency.Decay)
		}
	case err != nil:
		if counted = a.Exempt; counted == NoFailure {
			counted = Classify(s.answered.Load() > 0, err)
		}
		s.failed[counted].Add(1)
		if counted.blameless() {
			break
		}
		s.ObserveHeader(now, latency.Penalty, a.Load)
		s.ObserveResult(now, true)
		s.Body.Observe(now, latency.Penalty, latency.Averaging)
	case a.Error != 0:
		s.ObserveResult(now, true)
		s.Body.Observe(now, latency.Penalty, latency.Averaging)
	case a.penalty() > 0:
		s.Body.Observe(now, a.penalty(), latency.Averaging)
	case a.Status != http.StatusSwitchingProtocols: // how long a tunnel stands says nothing
		s.Body.Observe(now, now-a.Start, latency.Averaging)
	}
	if err == nil && (class == http.StatusInternalServerError/100 || a.Error != 0) {
		s.failed[NoFailure].Add(1)
	}
	s.byStatus[class].Add(1)
	if a.Status == 0 {
		s.ObserveProgress(now, counted != NoFailure && !counted.blameless(), s.Waiting())
	}
	return counted
}

// Totals are the counts of one backend since it was first leased.
type Totals struct {
	// Requests is the number of attempts begun.
	Requests int64
	// Retries is the number of those that were not the first of their request.
	Retries int64
	// InFlight is the number of attempts that have not ended; a response
	// whose body still streams has not.
	InFlight int64
	// Failures is the number of attempts that got no complete response, for
	// which the client is not to blame, by why.
	Failures map[Failure]int64
	// BadStatus is the number of complete responses that say that the backend has
	// failed: with a status of 5xx, or one of gRPC that amounts to that.
	BadStatus int64
	// ClientGone is the number of attempts that the client abandoned.
	ClientGone int64
	// Responses is the number of responses by the first digit of the status;
	// index 0 counts attempts without one.
	Responses [6]int64
	// Answered is the number of attempts that got the header of a response.
	Answered int64
	// FirstByte is the sum of the times until then.
	FirstByte time.Duration
	// LastByte is the sum of the times of the attempts that got a response, and
	// have ended.
	LastByte time.Duration
}

// Totals returns the counts so far.
func (c *Counters) Totals() Totals {
	t := Totals{Failures: make(map[Failure]int64)}
	for i := range t.Responses { // before begun, so that InFlight is never negative
		t.Responses[i] = c.byStatus[i].Load()
		t.InFlight -= t.Responses[i]
	}
	t.Requests = c.begun.Load()
	t.InFlight += t.Requests
	t.Retries = c.retried.Load()
	for f := Refused; f < failures; f++ {
		t.Failures[f] = c.failed[f].Load()
	}
	t.ClientGone, t.BadStatus = c.gone.Load(), c.failed[NoFailure].Load()
	t.Answered, t.FirstByte = c.answered.Load(), time.Duration(c.firstByte.Load())
	t.LastByte = time.Duration(c.lastByte.Load())
	return t
}
