// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// Limiter is a guest module of the handler, in the namespace ballast.limiters. It decides how many
// requests may be in flight. To be usable in a Caddyfile, as `algorithm <name>`, it must be a
// caddyfile.Unmarshaler. A request counts as in flight, and its latency is measured, until its
// response header. Package limitertest tests this contract.
//
// Ballast's own limiters are built in, because they also measure the latency without load, for
// which they admit fewer requests for a moment.
type Limiter interface {
	// NewAlgorithm returns an algorithm in its initial state: one for the handler or, with
	// `per`, one for each key. It may be called concurrently, also while requests are served.
	// Successive configurations share algorithms while the options are the same, so
	// NewAlgorithm may be called, and its algorithms used, after Cleanup of the module.
	// Provision, not NewAlgorithm, reports invalid options.
	NewAlgorithm() Algorithm
}

// Algorithm adapts a limit. One goroutine at a time uses it, at the end of a request; it must
// not block. If it panics, the limit stays as it is.
type Algorithm interface {
	// Start returns the initial limit.
	Start() float64
	// Next returns the limit that follows from a window, and the reason. Limits are cut to
	// whole numbers from 1 to 1,000,000. Reasons other than those below are not counted.
	Next(w Window) (limit float64, reason Reason)
}

// Window holds the measurements of an interval of at least 100ms. It is extended to up to a second
// until it has 30 answers.
type Window struct {
	// Limit is the limit in force.
	Limit float64
	// Length is the length of the window, above 0.
	Length time.Duration
	// Answers is the number of requests that were answered, or that timed out in the proxy or the
	// client. It may be 0.
	Answers int
	// Latency is the mean of their latencies; 0 without answers.
	Latency time.Duration
	// Drops is the number of requests that were refused behind this limit, such as with
	// status 503, or not answered in time.
	Drops int
	// Refused is the number of requests that came while the limit was reached.
	Refused int
	// InFlight is the highest number of requests in flight. Critical requests may exceed the
	// limit.
	InFlight int
}

// Reason is the reason of an algorithm's decision. Metrics count decisions by reason.
type Reason = admission.Reason

// The reasons.
const (
	ReasonIdle   = admission.ReasonIdle   // far fewer requests are in flight than the limit admits
	ReasonCalm   = admission.ReasonCalm   // latency is near the base, so the limit rises
	ReasonRoom   = admission.ReasonRoom   // latency is near the base although the limit is reached
	ReasonSlow   = admission.ReasonSlow   // latency is too high
	ReasonSteady = admission.ReasonSteady // latency is at the tolerated level
	ReasonDrops  = admission.ReasonDrops  // requests are refused behind the limit, or not answered in time
)

// limiterRule adapts a Limiter to an [admission.Factory].
type limiterRule struct{ Limiter }

// New implements [admission.Factory].
func (l limiterRule) New() admission.Rule { return &algorithmRule{algorithm: l.NewAlgorithm()} }

// Start implements [admission.Rule]. Gates use the rule that New returns.
func (l limiterRule) Start() admission.State { return l.New().Start() }

// algorithmRule adapts an Algorithm to the rule of one gate. The lock of the gate guards it.
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
		if p != nil && !a.panicked { // log only the first of several in a row
			panics.Log("computing the limit of shed", p)
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

// cutLimit returns the limit within its bounds, or other if the limit is NaN.
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
