// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	"time"
)

const (
	// probeEvery is how long a base is valid while the limit is reached: then requests always wait,
	// and no answer has the latency without load.
	probeEvery = 5 * time.Second
	// probeAgain is the delay to the next probe after the base changed much or could not be
	// measured.
	probeAgain = time.Second
	// A probe admits a share of the requests that keep the backends busy, so that none waits. If
	// long requests fill that share, so that no request is admitted, the next probe admits more.
	minShare, maxShare, shareStep = 0.5, 0.9, 0.2
	// cohort is the maximum number of requests that a probe measures, and minCohort the minimum.
	cohort, minCohort = 32, 8
	// clip, times the base, is the upper bound of a latency sample, so that a few long requests do
	// not dominate the mean.
	clip = 4
	// changed is the relative change of the base from which the next probe comes soon, to confirm
	// it.
	changed = 0.25
	// calm is the highest latency, relative to the base, that counts as latency without a queue.
	calm = 1.25
	// Weights of a window's latency in the base: follow if both are about the same, sink if the
	// latency is clearly lower, rise if it is higher although nothing is refused. Without a probe,
	// the base does not exceed drift times its last measured value, because a slowly growing queue
	// looks like backends that become slower.
	follow, sink, rise = 0.05, 0.1, 0.02
	drift              = 1.1
	// anchored is how long the base must have been observed before drift applies.
	anchored = 500 * time.Millisecond
	// settle is the weight of a window's rate in the smoothed rate.
	settle = 0.3
	// strictAfter is the number of consecutive missed probes after which a probe also holds
	// back critical requests, if some are refused anyway.
	strictAfter = 2
	// fallen is the share of the former limit at which shrink checks whether the decrease has
	// helped.
	fallen = 0.6
	// slack is an excess over the base that is insignificant.
	slack = time.Millisecond
)

// Clip returns the upper bound of a latency sample; 0 for none.
func (s State) Clip() time.Duration { return clip * s.Base }

// busy returns the number of requests in flight that keep the backends busy without a queue, by
// Little's law: the rate times the latency without the waiting time.
func (s *State) busy(w Window) float64 {
	base := s.Anchor
	if base == 0 {
		base = s.Base
	}
	late := max(0, w.Latency-base)
	if late > base { // so high that latencies were clipped
		return s.Rate * base.Seconds()
	}
	return s.Rate * (w.Raw - late).Seconds()
}

// Drain returns how long it takes until no more requests are in flight than a probe admits.
func (s State) Drain(inFlight float64) time.Duration {
	return time.Duration(math.Max(0, inFlight-s.Probe) / math.Max(s.Rate, 1) * float64(time.Second))
}

// Cohort returns the number of requests that a probe measures.
func (s State) Cohort() int { return int(math.Min(math.Max(2*s.Probe, minCohort), cohort)) }

// measure updates Base and Rate, and begins and ends probes. If it decides, the limit stays.
//
// While the limit is reached, the base is not observable: requests wait in every window. A base
// that follows the observed latency grows with the queue, and the limit with it (the drift of Vegas
// and Gradient2). A base that never follows mistakes slower backends for a queue, and the limit
// shrinks more and more. Therefore, every five seconds, a probe admits only half of the requests
// that keep the backends busy, until a few are answered.
func (s *State) measure(w Window) (reason Reason, decided bool) {
	if s.LargeStep && s.Probe == 0 {
		s.LargeStep = false // the effect appears one window later
		return ReasonSteady, true
	}
	if s.Probe > 0 {
		s.LargeStep = true // the next window includes refusals and answers of the probe
		return s.measured(w), true
	}
	if w.Answers == 0 {
		return ReasonIdle, true
	}
	if rate := float64(w.Answers) / w.Length.Seconds(); s.Rate == 0 {
		s.Rate = rate
	} else {
		s.Rate += (rate - s.Rate) * settle
	}
	limited := s.limited(w)
	if s.Since == 0 {
		s.Since = w.End
		if !limited {
			return ReasonCalm, true // the first answers are the fast ones
		}
	}
	if s.Base == 0 {
		s.Base = w.Latency
	}
	if s.Anchor == 0 && w.End-s.Since >= anchored {
		s.Anchor = s.Base
	}
	s.follow(w.Latency, limited)
	if !limited {
		if s.calm(w) {
			s.ConfirmedAt = w.End
		}
		return "", false
	}
	if s.ConfirmedAt == 0 || w.End-s.ConfirmedAt >= probeEvery {
		s.Busy = math.Max(1, s.busy(w))
		s.Share = math.Max(minShare, s.Share)
		s.Probe = math.Max(1, s.Busy*s.Share)
		s.Strict = s.MissedProbes >= strictAfter && w.Urgent > 0
		return ReasonProbe, true
	}
	return "", false
}

// follow moves the base towards the latency of a window.
func (s *State) follow(latency time.Duration, limited bool) {
	share, before := rise, s.Base
	switch off := float64(latency) / float64(s.Base); {
	case off*calm < 1:
		share = sink
	case limited && off > 1:
		return
	case off <= calm:
		share = follow
	}
	s.Base += time.Duration(float64(latency-s.Base) * share)
	if s.Anchor > 0 {
		s.Base = min(s.Base, max(before, time.Duration(drift*float64(s.Anchor))))
		s.Anchor = min(s.Anchor, s.Base)
	}
}

// measured applies the result of a probe and ends it. If answers were clearly faster than the base,
// they may still have waited, because a base that is too high overestimates how many requests keep
// the backends busy; a probe with fewer requests follows at once.
func (s *State) measured(w Window) Reason {
	probe := s.Probe
	s.Probe = 0
	if w.Probed < minCohort {
		s.MissedProbes++
		s.Share = math.Min(maxShare, s.Share+shareStep)
		s.ConfirmedAt = w.End - probeEvery + probeAgain
		return ReasonMissed
	}
	s.MissedProbes, s.ConfirmedAt = 0, w.End
	off := w.ProbedLatency - s.Base
	switch limit := time.Duration(changed * float64(s.Base)); {
	case off < -limit:
		if probe > 1 {
			s.Probe = math.Max(1, probe*minShare)
		}
	case off > limit:
		s.ConfirmedAt = w.End - probeEvery + probeAgain
	default:
		off /= 2 // half, because a small cohort is noisy
	}
	s.Base += off
	s.Anchor = s.Base
	return ReasonMeasured
}

// calm reports whether latency is near the base, which counts as latency without a queue.
func (s *State) calm(w Window) bool {
	return float64(w.Latency) <= calm*float64(s.Base) || w.Latency-s.Base <= slack
}
