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
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// Attempt is the measurement of one attempt. Times are readings of [clock.Now].
type Attempt struct {
	// Start is when the attempt began.
	Start time.Duration
	// Load is the number of requests in flight at Start, including this one.
	Load int
	// Status is the status of the response; 0 before there is one.
	Status int
	// FirstByte is the time from Start to the response header.
	FirstByte time.Duration
	// Body is the time from Start to the first byte of the response body, or to the header of a
	// response without a body; 0 before.
	Body time.Duration
	// RetryAfter is the delay of the Retry-After field of a refusing response; 0 for none.
	RetryAfter time.Duration
	// Error is the equivalent HTTP status of a response whose own status does not show the error,
	// such as a gRPC error; 0 for none.
	Error int
	// Exempt is why a failure of the attempt does not count against the backend; [outlier.NoFailure] if
	// it counts.
	Exempt outlier.Failure
	// Affinity is the kind of binding to the backend.
	Affinity Affinity
	// Hedgeable reports that the request may get a second attempt when it is late.
	Hedgeable bool
	// Early reports that the backend closed a tunnel early, before it sent anything, which counts as a failure.
	Early bool
	// Slot reports that the attempt already holds a slot of the backend.
	Slot bool

	trial bool // the half-open trial of an ejected backend
	wrong bool // counted as an error of its group
}

// failed reports whether the status of the response means that the backend failed, or refuses
// requests.
func (a *Attempt) failed() bool {
	return a.Status == http.StatusTooManyRequests || a.Status >= http.StatusInternalServerError
}

// Counters count the attempts on one backend. Safe for concurrent use. Each counter is consistent
// by itself; several together are not.
type Counters struct {
	begun      atomic.Int64
	answered   atomic.Int64 // attempts with a response header
	answeredAt atomic.Int64 // when the latest header came, as of clock.Now
	firstByte  atomic.Int64 // sum, in nanoseconds
	lastByte   atomic.Int64
	bodyByte   atomic.Int64
	bodies     atomic.Int64    // times in bodyByte
	byStatus   [6]atomic.Int64 // ended attempts by the first digit of the status; 0 for none

	slow     atomic.Int64                       // headers later than outlier.Rules.AnsweredInTime; only with stall detection
	timedOut atomic.Int64                       // attempts that the client gave up after as long, without a header
	failed   [outlier.FailureKinds]atomic.Int64 // index NoFailure: responses whose status means that the backend failed
	gone     atomic.Int64
	retried  atomic.Int64 // of begun: attempts that were not the first of their request

	bound *boundCounters // of these: attempts bound by a key or a session

	resent atomic.Int64 // requests sent again within an attempt
}

// Begin counts an attempt that is about to start.
func (s *State) Begin() { s.begun.Add(1) }

// CountRetry counts an attempt that is not the first of its request.
func (c *Counters) CountRetry() { c.retried.Add(1) }

// CountResend counts a request that is sent again within an attempt, on another connection.
func (c *Counters) CountResend() { c.resent.Add(1) }

// ended returns the number of ended attempts that count for or against the backend.
func (c *Counters) ended() (n int64) {
	for i := range c.byStatus {
		n += c.byStatus[i].Load()
	}
	for f := range c.failed {
		if outlier.Failure(f).Blameless() {
			n -= c.failed[f].Load()
		}
	}
	return n - c.gone.Load()
}

// Waiting returns the number of attempts that wait for a response header.
func (c *Counters) Waiting() int64 {
	n := -c.answered.Load() - c.byStatus[0].Load()
	return n + c.begun.Load()
}

// Progress returns the totals so far.
func (c *Counters) Progress() outlier.Progress {
	p := outlier.Progress{AnsweredAt: time.Duration(c.answeredAt.Load()), Answered: c.answered.Load()}
	b := c.bound
	bound := outlier.AttemptCounts{Ended: b.ended.Load(), Quick: b.quick.Load(), TimedOut: b.timedOut.Load()}
	p.Ended = p.Answered + c.byStatus[0].Load()
	// Answer increments slow before answered, and slow is read last. So no slow answer seems
	// quick.
	p.Quick, p.TimedOut = p.Answered-c.slow.Load(), c.timedOut.Load()
	bound.Begun = b.begun.Load()
	p.Begun = c.begun.Load()
	p.Unbound = outlier.AttemptCounts{
		Begun: p.Begun - bound.Begun, Ended: p.Ended - bound.Ended, Quick: p.Quick - bound.Quick, TimedOut: p.TimedOut - bound.TimedOut,
	}
	return p
}

// Headers returns the number of attempts begun, of those with a response header, and the sum of the
// times to these.
func (c *Counters) Headers() (begun, answered int64, spent time.Duration) {
	answered, spent = c.answered.Load(), time.Duration(c.firstByte.Load())
	return c.begun.Load(), answered, spent
}

// AnsweredAt returns when the latest response header came, as of [clock.Now]; 0 for never.
func (c *Counters) AnsweredAt() time.Duration { return time.Duration(c.answeredAt.Load()) }

// Outcomes returns the numbers of successful and failed attempts. An attempt that only its client
// gave up is not a failure.
func (s *State) Outcomes() (good, bad int64) {
	bad = s.Errors()
	return max(0, s.ended()-bad), bad
}

// Answer records that an attempt received a response header.
func (s *State) Answer(a *Attempt) {
	now := a.Start + a.FirstByte
	s.answered.Add(1)
	s.answeredAt.Store(int64(now))
	s.firstByte.Add(int64(a.FirstByte))
	s.Histogram.Observe(now, a.FirstByte)
	if a.failed() {
		s.ObserveFailure(now, a.RetryAfter)
	} else {
		s.ObserveHeader(now, a.FirstByte, a.Load)
		s.observeWait(a, now, a.FirstByte)
		if a.Error == 0 {
			s.ObserveSuccess(now)
		}
	}
	s.ObserveProgress(now, true, s.Waiting())
}

// AnswerBody records that the first byte of the response body came at now, or the end of a response
// without a body.
func (s *State) AnswerBody(a *Attempt, now time.Duration) {
	if a.Body != 0 || a.Status == http.StatusSwitchingProtocols {
		return
	}
	a.Body = max(now-a.Start, 1)
	s.bodyByte.Add(int64(a.Body))
	s.bodies.Add(1)
	if !a.failed() {
		s.ObserveBody(now, a.Body)
	}
}

// End counts the outcome of an attempt. err is the error that ended it early, or nil. clientGone reports that the
// client left first, so that err is not the fault of the backend. End returns the kind of failure that it counted,
// if any. Each Begin needs exactly one End.
func (s *State) End(a *Attempt, now time.Duration, err error, clientGone bool) (counted outlier.Failure) {
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
			s.ObserveAtLeast(now, now-a.Start)
			s.observeWait(a, now, now-a.Start)
		} else if a.Status != http.StatusSwitchingProtocols {
			s.LastByte.RaiseTo(now, now-a.Start, latency.Averaging, latency.Decay)
			if a.Body == 0 {
				s.ObserveBodyAtLeast(now, now-a.Start)
			}
		}
	case err != nil:
		if counted = a.Exempt; counted == outlier.NoFailure {
			counted = outlier.Classify(s.answered.Load() > 0, err)
		}
		s.failed[counted].Add(1)
		if counted.Blameless() {
			break
		}
		s.ObserveFailure(now, 0)
	case a.Error != 0:
		s.ObserveFailure(now, 0)
	case a.failed():
	case a.Status != http.StatusSwitchingProtocols: // the duration of a tunnel is not a latency
		s.LastByte.Observe(now, now-a.Start, latency.Averaging)
	}
	if err == nil && (class == http.StatusInternalServerError/100 || a.Error != 0) {
		s.failed[outlier.NoFailure].Add(1)
	}
	s.byStatus[class].Add(1)
	if a.Status == 0 {
		s.ObserveProgress(now, counted != outlier.NoFailure && !counted.Blameless(), s.Waiting())
	}
	return counted
}

// Totals are the counts of one backend since its state was created.
type Totals struct {
	// Requests is the number of attempts begun.
	Requests int64
	// Retries is the number of attempts that were not the first of their request.
	Retries int64
	// Resends counts requests that were sent again within an attempt, since the backend had closed the
	// connection before.
	Resends int64
	// InFlight is the number of attempts that have not ended. A response whose body still streams
	// has not ended.
	InFlight int64
	// Failures is the number of attempts without a complete response, by kind. Attempts abandoned
	// by the client are not in it.
	Failures map[outlier.Failure]int64
	// BadStatus is the number of complete responses that mean a failure of the backend: status
	// 5xx, or an equivalent gRPC status.
	BadStatus int64
	// ClientGone is the number of attempts that the client abandoned.
	ClientGone int64
	// Responses is the number of responses by the first digit of the status. Index 0 counts
	// attempts without a response.
	Responses [6]int64
	// Answered is the number of attempts that received a response header.
	Answered int64
	// FirstByte is the sum of the times to the response header.
	FirstByte time.Duration
	// Bodies is the number of responses whose body has begun, or that have no body.
	Bodies int64
	// BodyByte is the sum of the times to the first byte of these bodies, or to the header.
	BodyByte time.Duration
	// LastByte is the sum of the durations of ended attempts that received a response.
	LastByte time.Duration
}

// Totals returns the counts so far.
func (c *Counters) Totals() Totals {
	t := Totals{Failures: make(map[outlier.Failure]int64)}
	for i := range t.Responses { // before begun, so that InFlight is never negative
		t.Responses[i] = c.byStatus[i].Load()
		t.InFlight -= t.Responses[i]
	}
	t.Requests = c.begun.Load()
	t.InFlight += t.Requests
	t.Retries, t.Resends = c.retried.Load(), c.resent.Load()
	for f := outlier.Refused; f < outlier.FailureKinds; f++ {
		t.Failures[f] = c.failed[f].Load()
	}
	t.ClientGone, t.BadStatus = c.gone.Load(), c.failed[outlier.NoFailure].Load()
	t.Answered, t.FirstByte = c.answered.Load(), time.Duration(c.firstByte.Load())
	t.Bodies, t.BodyByte = c.bodies.Load(), time.Duration(c.bodyByte.Load())
	t.LastByte = time.Duration(c.lastByte.Load())
	return t
}
