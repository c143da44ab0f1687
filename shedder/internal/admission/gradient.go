// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import "math"

// Gradient moves the limit by how much slower answers are than they could be.
// Under load it comes to Tolerance times what keeps the backends busy, and a few
// more. It is that of Netflix's concurrency-limits (Gradient2) and of Envoy's
// adaptive concurrency, with a base that neither drifts nor is stuck: see
// [State].
type Gradient struct {
	Bounds
	// Tolerance is how many times longer answers may take, above 1.
	Tolerance float64
}

const (
	// steepest is the most that the limit falls by in one step.
	steepest = 0.5
	// damping is the share of a step that is made: what is seen of a step comes
	// late.
	damping = 0.5
	// leap is what the limit grows by where it is far too low.
	leap = 1.5
)

// Start returns the state to begin with.
func (g Gradient) Start() State { return g.start() }

// Next returns what follows from a window, and why.
func (g Gradient) Next(s State, w Window) (State, Reason) {
	if reason, decided := s.measure(w); decided {
		return s, reason
	}
	if s.idle(w) {
		return s, ReasonIdle
	}
	more := math.Max(1, math.Sqrt(s.Limit)/2)
	if s.calm(w) {
		s.Before.Limit = 0
		switch {
		case w.Drops > 0: // those behind have limits of their own
			return s, ReasonDrops
		case w.Peak >= int(s.Limit):
			s.Limit = g.keep(s.Limit*leap + more)
			s.Jumped = true
			return s, ReasonRoom
		}
		s.Limit = g.keep(s.Limit + more)
		return s, ReasonCalm
	}
	gradient := math.Max(steepest, math.Min(1, g.Tolerance*float64(s.Base)/float64(w.Latency)))
	step := (s.Limit*gradient + more - s.Limit) * damping
	if step < 0 {
		return s, s.shrink(g.keep(s.Limit+step), w)
	}
	s.Before.Limit = 0
	if w.Drops > 0 {
		return s, ReasonDrops
	}
	s.Limit = g.keep(s.Limit + step)
	return s, ReasonSteady
}
