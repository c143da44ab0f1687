// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// Limiter is a guest module of the handler, in the namespace ballast.limiters: it finds
// how many requests may be in flight. It must be a caddyfile.Unmarshaler for a Caddyfile
// to name it, as `algorithm <name>`. Requests count, and are timed, until the header of
// their response. Package limitertest tests what follows.
//
// Ballast's own limiters are built in, since they also measure the latency without load
// by letting fewer requests in for a moment.
type Limiter interface {
	// NewAlgorithm returns an algorithm that has seen nothing: one for the handler or,
	// with `per`, one for each key. It may be called by several goroutines, and by those
	// of requests. Handlers of one configuration after the other share algorithms while
	// the options stay the same, so that it may be called, and what it returned used,
	// after the module was cleaned up. What is wrong with the options is for Provision to
	// say.
	NewAlgorithm() Algorithm
}

// Algorithm finds a limit. It is used by one goroutine at a time, of a request that is
// over, and must wait for nothing. If it panics, the limit stays as it is.
type Algorithm interface {
	// Start returns the limit to begin with.
	Start() float64
	// Next returns the limit that follows from a window, and why. Limits are cut to
	// whole numbers from 1 to 1,000,000. A reason other than those below is not counted.
	Next(w Window) (limit float64, reason Reason)
}

// Window is what was seen in a stretch of time: 100ms or, with fewer than 30 answers, up
// to a second.
type Window struct {
	// Limit is the limit that was in force.
	Limit float64
	// Length is how long the window was, above 0.
	Length time.Duration
	// Answers is the number of requests whose answer came, or should have come: the
	// client has left, or a timeout is over. It may be 0.
	Answers int
	// Latency is the mean of their times; 0 without any.
	Latency time.Duration
	// Drops is the number of requests that were refused behind this limit, with a 503
	// for example, or not answered in time.
	Drops int
	// Refused is the number of requests that found no room within the limit.
	Refused int
	// InFlight is the most requests that were in flight at a time. Critical requests may
	// be beyond the limit.
	InFlight int
}

// Reason says why an algorithm has decided as it has. Metrics count decisions by it.
type Reason = admission.Reason

// The reasons.
const (
	ReasonIdle   = admission.ReasonIdle   // far less is in flight than might be
	ReasonCalm   = admission.ReasonCalm   // answers are as fast as ever, and there is use for more
	ReasonRoom   = admission.ReasonRoom   // answers are as fast as ever, though requests are refused
	ReasonSlow   = admission.ReasonSlow   // answers take longer than they should
	ReasonSteady = admission.ReasonSteady // answers take as long as they may
	ReasonDrops  = admission.ReasonDrops  // requests are refused, or not answered in time
)

// limiterRule makes the rule of a gate of a limiter.
type limiterRule struct{ Limiter }

// New implements [admission.Factory].
func (l limiterRule) New() admission.Rule { return &algorithmRule{algorithm: l.NewAlgorithm()} }

// Start implements [admission.Rule]; gates ask what New makes.
func (l limiterRule) Start() admission.State { return l.New().Start() }

// algorithmRule is an algorithm as the rule of one gate, whose lock guards it.
type algorithmRule struct {
	algorithm Algorithm
	panicked  bool // in the latest window
}

// Start implements [admission.Rule].
func (a *algorithmRule) Start() admission.State {
	return admission.State{Limit: cutLimit(a.algorithm.Start(), defaultInitial)}
}

// Next implements [admission.Learner].
func (a *algorithmRule) Next(s admission.State, w admission.Window) (next admission.State, reason admission.Reason) {
	next = s
	defer func() { // the caller holds a lock
		p := recover()
		if p != nil && !a.panicked { // of several in a row the first is logged
			panics.Log("finding a limit of shed", p)
		}
		a.panicked = p != nil
	}()
	limit, reason := a.algorithm.Next(Window{
		Limit: s.Limit, Length: w.Length, Answers: w.Answers, Latency: w.Raw,
		Drops: w.Drops, Refused: w.Refused, InFlight: w.Peak,
	})
	next.Limit = cutLimit(limit, s.Limit)
	return next, reason
}

// cutLimit returns a limit within its bounds; of what is no number, other.
func cutLimit(limit, other float64) float64 {
	if limit != limit {
		return other
	}
	return min(max(limit, 1), maxLimit)
}

// Interface guards
var (
	_ admission.Factory = limiterRule{}
	_ admission.Learner = (*algorithmRule)(nil)
)
