// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	"time"
)

// State is the state of a rule between windows.
type State struct {
	// Limit is the limit of requests in flight.
	Limit float64
	// Base is the latency without load; 0 if not known.
	Base time.Duration
	// Anchor is the base as last measured by a probe or, before the first probe, as first observed
	// for some time; 0 if not known. An estimate of the base does not change it. Since is the time
	// of the first answers.
	Anchor, Since time.Duration
	// Share is the share of Busy that a probe admits; 0 for minShare.
	Share float64
	// ConfirmedAt is when Base was last confirmed, as of [Window.End].
	ConfirmedAt time.Duration
	// Rate is the smoothed number of answers per second.
	Rate float64
	// Probe is the limit of requests in flight during a probe; 0 for no probe. Busy is the number
	// of requests in flight that keep the backends busy without a queue.
	Probe, Busy float64
	// Strict reports that the probe also limits critical requests.
	Strict bool
	// MissedProbes is the number of consecutive probes that measured nothing.
	MissedProbes int
	// Before holds the values at the time when the limit began to fall.
	Before struct {
		Limit   float64
		Peak    int
		Latency time.Duration
	}
	// Unchanged reports that the limit was not changed in the last window, so that the effect of
	// the decrease is visible.
	Unchanged bool
	// LargeStep reports that the limit has just grown by a large step.
	LargeStep bool
}

// Window holds the measurements of an interval.
type Window struct {
	// End is the end of the window on a monotonic clock, and Length its length.
	End, Length time.Duration
	// Answers is the number of answers.
	Answers int
	// Latency is the mean latency of the answers, each clipped at [State.Clip].
	Latency time.Duration
	// Raw is the mean latency without clipping.
	Raw time.Duration
	// Drops is the number of requests that were refused behind this limit, or not answered in
	// time.
	Drops int
	// Refused is the number of requests that came while the limit was reached, Urgent that of the
	// critical ones among them, and Peak the highest number in flight.
	Refused, Urgent, Peak int
	// Probed is the number of requests that the probe measured.
	Probed int
	// ProbedLatency is Latency for these requests.
	ProbedLatency time.Duration
}

// Reason is the reason of a rule's decision.
type Reason string

// The reasons.
const (
	// ReasonIdle: far fewer requests are in flight than the limit admits.
	ReasonIdle Reason = "idle"
	// ReasonCalm: latency is near the base, so the limit rises.
	ReasonCalm Reason = "calm"
	// ReasonRoom: latency is near the base although the limit is reached.
	ReasonRoom Reason = "room"
	// ReasonSlow: latency is too high.
	ReasonSlow Reason = "slow"
	// ReasonSteady: latency is at the tolerated level.
	ReasonSteady Reason = "steady"
	// ReasonDrops: requests are refused behind the limit, or not answered in time.
	ReasonDrops Reason = "drops"
	// ReasonMoved: latency has risen, but not because requests wait; it is the new base.
	ReasonMoved Reason = "moved"
	// ReasonProbe: a probe of the base begins.
	ReasonProbe Reason = "probe"
	// ReasonMeasured: the probe has measured the base.
	ReasonMeasured Reason = "measured"
	// ReasonMissed: the probe has measured nothing.
	ReasonMissed Reason = "missed"
)

// Bounds of a limit.
type Bounds struct {
	// Start is the initial limit, from Min to Max; Min is at least 1.
	Start, Min, Max float64
}

// start returns the initial state.
func (b Bounds) start() State { return State{Limit: b.Start} }

// clamp returns limit, clamped to Min and Max.
func (b Bounds) clamp(limit float64) float64 { return math.Min(math.Max(limit, b.Min), b.Max) }

// limited reports whether the limit was reached.
func (s State) limited(w Window) bool { return w.Refused > 0 || float64(w.Peak) >= math.Floor(s.Limit) }

// spare is the factor of the peak above which a limit counts as idle, and does not change.
const spare = 1.5

// idle reports whether far fewer requests are in flight than the limit admits, so that the latency
// does not depend on the limit.
func (s State) idle(w Window) bool { return float64(w.Peak)*spare < s.Limit && !s.limited(w) }

// shrink lowers the limit, and checks from time to time whether that helps. If requests
// waited, latency falls with the number in flight. If it does not, nothing waited: the
// backends have become slower, and the latency is the new base.
func (s *State) shrink(limit float64, w Window) Reason {
	if s.Before.Limit == 0 || w.Latency > s.Before.Latency {
		s.Before.Limit, s.Before.Peak, s.Before.Latency = s.Limit, w.Peak, w.Latency
	}
	if float64(w.Peak) > s.Limit+1 {
		// Critical requests exceed the limit, and the others only get the remaining slots, so a
		// limit that leaves the backends idle does not help.
		limit = math.Max(limit, math.Min(s.Limit, s.Rate*s.Base.Seconds()))
	}
	if limit > fallen*s.Before.Limit {
		s.Limit, s.Unchanged = limit, false
		return ReasonSlow
	}
	if !s.Unchanged { // the effect of a step appears one window later
		s.Unchanged = true
		return ReasonSlow
	}
	before := s.Before
	s.Unchanged, s.Before.Limit = false, 0
	fell := float64(w.Peak) / float64(before.Peak)
	if fell < (1+fallen)/2 && float64(w.Latency) > (1+fell)/2*float64(before.Latency) {
		s.Base = w.Latency
		s.ConfirmedAt = w.End - probeEvery + probeAgain // this base is an estimate: measure it soon
		return ReasonMoved
	}
	s.Limit = limit
	return ReasonSlow
}
