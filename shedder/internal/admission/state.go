// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	"time"
)

// State is what a rule goes on from one window to the next with.
type State struct {
	// Limit is how many requests may be in flight.
	Limit float64
	// Base is how long an answer takes where nothing waits; 0 if not known.
	Base time.Duration
	// Anchor is the base as it was last measured or, before, after some time; 0
	// if not known. What is only guessed of the base leaves it. Since is when the first answers were seen.
	Anchor, Since time.Duration
	// Share is the share of Busy that is let in for a probe; 0 for the least.
	Share float64
	// Looked is when Base was last seen to hold, as of [Window.End].
	Looked time.Duration
	// Rate is the number of answers a second of late.
	Rate float64
	// Probe is how many may be in flight while the base is measured; 0 for not.
	// Busy is how many keep the backends busy without any waiting.
	Probe, Busy float64
	// Strict says that the probe holds for critical requests too.
	Strict bool
	// Misses counts the latest probes that measured nothing.
	Misses int
	// Before is how it was when the limit began to fall.
	Before struct {
		Limit   float64
		Peak    int
		Latency time.Duration
	}
	// Settled says that the limit has stood for a window since.
	Settled bool
	// Jumped says that the limit has just grown by much.
	Jumped bool
}

// Window is what was seen in a stretch of time.
type Window struct {
	// End is when it ended, on a clock that only grows, and Length how long it was.
	End, Length time.Duration
	// Answers is the number of answers.
	Answers int
	// Latency is the mean of the times that they took, each cut at [State.Text].
	Latency time.Duration
	// Raw is as Latency, of the times in full.
	Raw time.Duration
	// Drops are the requests that were refused behind this limit, or not answered
	// in time.
	Drops int
	// Refused is the number of requests that found no room, Urgent that of the
	// critical ones among them, and Peak the most that were in flight.
	Refused, Urgent, Peak int
	// Probed is the number of requests of a probe.
	Probed int
	// ProbedLatency is as Latency, of those.
	ProbedLatency time.Duration
}

// Reason says why a rule has decided as it has.
type Reason string

// The reasons.
const (
	// ReasonIdle: far less is in flight than might be.
	ReasonIdle Reason = "idle"
	// ReasonCalm: answers are as fast as ever, and there is use for more.
	ReasonCalm Reason = "calm"
	// ReasonRoom: answers are as fast as ever, though requests are refused.
	ReasonRoom Reason = "room"
	// ReasonSlow: answers take longer than they should.
	ReasonSlow Reason = "slow"
	// ReasonSteady: answers take as long as they may.
	ReasonSteady Reason = "steady"
	// ReasonDrops: requests are refused, or not answered in time.
	ReasonDrops Reason = "drops"
	// ReasonMoved: answers take longer than they did, but not for waiting.
	ReasonMoved Reason = "moved"
	// ReasonProbe: the base is about to be measured.
	ReasonProbe Reason = "probe"
	// ReasonMeasured: the base has been measured.
	ReasonMeasured Reason = "measured"
	// ReasonMissed: it could not be.
	ReasonMissed Reason = "missed"
)

// Bounds of a limit.
type Bounds struct {
	// Start is what it begins with, from Min to Max; Min is at least 1.
	Start, Min, Max float64
}

// start returns the state that a limit begins in.
func (b Bounds) start() State { return State{Limit: b.Start} }

// keep returns limit, no lower than Min and no higher than Max.
func (b Bounds) keep(limit float64) float64 { return math.Min(math.Max(limit, b.Min), b.Max) }

// limited reports whether the limit had requests refused, or nearly.
func (s State) limited(w Window) bool { return w.Refused > 0 || float64(w.Peak) >= math.Floor(s.Limit) }

// spare is how many times the most that were in flight a limit may be that still
// moves.
const spare = 1.5

// idle reports whether far less is in flight than might be, so that nothing shows
// what the limit is good for.
func (s State) idle(w Window) bool { return float64(w.Peak)*spare < s.Limit && !s.limited(w) }

// shrink lowers the limit, and asks now and then whether that is of use. Answers
// that waited come the faster the fewer there are in flight; where they do not,
// nothing has waited, and those behind have become slower.
func (s *State) shrink(limit float64, w Window) Reason {
	if s.Before.Limit == 0 || w.Latency > s.Before.Latency {
		s.Before.Limit, s.Before.Peak, s.Before.Latency = s.Limit, w.Peak, w.Latency
	}
	if float64(w.Peak) > s.Limit+1 {
		// Critical requests fill more than the limit. Others only get what those
		// leave, so that less is of no use.
		limit = math.Max(limit, math.Min(s.Limit, s.Rate*s.Base.Seconds()))
	}
	if limit > fallen*s.Before.Limit {
		s.Limit, s.Settled = limit, false
		return ReasonSlow
	}
	if !s.Settled { // what is seen of a step comes late
		s.Settled = true
		return ReasonSlow
	}
	before := s.Before
	s.Settled, s.Before.Limit = false, 0
	fell := float64(w.Peak) / float64(before.Peak)
	if fell < (1+fallen)/2 && float64(w.Latency) > (1+fell)/2*float64(before.Latency) {
		s.Base = w.Latency
		s.Looked = w.End - probeEvery + probeAgain // it was a guess
		return ReasonMoved
	}
	s.Limit = limit
	return ReasonSlow
}
