// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	"time"
)

const (
	// probeEvery is how long a base holds while the limit is reached. Requests
	// wait all that time, so that no answer shows how fast one could be.
	probeEvery = 5 * time.Second
	// probeAgain is how soon a base is measured again that has changed much, or
	// could not be measured.
	probeAgain = time.Second
	// A probe lets in a share of what keeps the backends busy, so that nothing
	// waits. Where long requests fill that share, so that nothing is let in, the
	// next probe lets in more.
	minShare, maxShare, shareStep = 0.5, 0.9, 0.2
	// cohort is how many requests a probe measures, and minCohort the least.
	cohort, minCohort = 32, 8
	// clip is at how many times the base the time of an answer is cut, so that a
	// few long ones do not hide what becomes of the others.
	clip = 4
	// changed is by how much a measurement must differ to be confirmed soon.
	changed = 0.25
	// calm is what answers may take beside the base while nothing waits.
	calm = 1.25
	// follow is how much of a window's latency goes into the base where it is
	// about the same, sink where it is clearly lower, and rise where it is higher
	// though nothing is refused. Without a measurement it does not come to more
	// than drift times what it was when it was measured: a queue that grows by
	// and by looks like backends that become slower.
	follow, sink, rise = 0.05, 0.1, 0.02
	drift              = 1.1
	// anchored is how long a base must have been followed to hold it to that.
	anchored = 500 * time.Millisecond
	// settle is how much of a window's rate goes into the rate.
	settle = 0.3
	// strictAfter is how many probes may miss for want of calm before critical
	// requests are held back too, if they are refused in any case.
	strictAfter = 2
	// fallen is the share of a limit at which it is seen what its fall has done.
	fallen = 0.6
	// slack is what answers may be slower without any meaning.
	slack = time.Millisecond
)

// Clip returns how much of the time of an answer counts, or 0 for all of it.
func (s State) Clip() time.Duration { return clip * s.Base }

// busy returns how many keep the backends busy without any waiting, by Little's
// law: what is in flight, but for what is answered in the time that answers are
// late by.
func (s *State) busy(w Window) float64 {
	base := s.Anchor
	if base == 0 {
		base = s.Base
	}
	late := max(0, w.Latency-base)
	if late > base { // so much that times were cut
		return s.Rate * base.Seconds()
	}
	return s.Rate * (w.Raw - late).Seconds()
}

// Drain returns how long it takes until no more than a probe lets in are in
// flight.
func (s State) Drain(inFlight float64) time.Duration {
	return time.Duration(math.Max(0, inFlight-s.Probe) / math.Max(s.Rate, 1) * float64(time.Second))
}

// Cohort returns how many requests a probe measures.
func (s State) Cohort() int { return int(math.Min(math.Max(2*s.Probe, minCohort), cohort)) }

// measure brings Base and Rate up to date, and begins and ends probes. If it
// decides, the limit stays.
//
// While the limit is reached the base cannot be seen: what waits, waits in every
// window. A base that follows what it sees then grows with the queue, and the
// limit with it (the drift of Vegas and Gradient2); one that never follows, takes
// backends that have become slower for a queue, and lets in less and less. So
// for the time of some answers only half of what keeps the backends busy is let
// in, every five seconds.
func (s *State) measure(w Window) (reason Reason, decided bool) {
	if s.Jumped && s.Probe == 0 {
		s.Jumped = false // what is seen of it comes late
		return ReasonSteady, true
	}
	if s.Probe > 0 {
		s.Jumped = true // what comes next was refused, and answered, during the probe
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
			return ReasonCalm, true // the first to be answered are those that are quick
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
			s.Looked = w.End
		}
		return "", false
	}
	if s.Looked == 0 || w.End-s.Looked >= probeEvery {
		s.Busy = math.Max(1, s.busy(w))
		s.Share = math.Max(minShare, s.Share)
		s.Probe = math.Max(1, s.Busy*s.Share)
		s.Strict = s.Misses >= strictAfter && w.Urgent > 0
		return ReasonProbe, true
	}
	return "", false
}

// follow has the base follow the latency of a window.
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

// measured takes what a probe has measured, and ends it. If answers were clearly
// faster than the base, they may still have waited, because the base was too
// high to tell what keeps the backends busy: then less is let in at once.
func (s *State) measured(w Window) Reason {
	probe := s.Probe
	s.Probe = 0
	if w.Probed < minCohort {
		s.Misses++
		s.Share = math.Min(maxShare, s.Share+shareStep)
		s.Looked = w.End - probeEvery + probeAgain
		return ReasonMissed
	}
	s.Misses, s.Looked = 0, w.End
	off := w.ProbedLatency - s.Base
	switch limit := time.Duration(changed * float64(s.Base)); {
	case off < -limit:
		if probe > 1 {
			s.Probe = math.Max(1, probe*minShare)
		}
	case off > limit:
		s.Looked = w.End - probeEvery + probeAgain
	default:
		off /= 2 // these are a few requests, and by chance
	}
	s.Base += off
	s.Anchor = s.Base
	return ReasonMeasured
}

// calm reports whether answers came as if nothing waited.
func (s *State) calm(w Window) bool {
	return float64(w.Latency) <= calm*float64(s.Base) || w.Latency-s.Base <= slack
}
