// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import "math"

// Gradient adapts the limit to the latency relative to the base. Under load it converges to
// Tolerance times the requests that keep the backends busy, plus a few. It is the algorithm of
// Netflix's concurrency-limits (Gradient2) and of Envoy's adaptive concurrency, with a base that
// neither drifts nor gets stuck: see [State].
type Gradient struct {
	Bounds
	// Tolerance is the tolerated latency relative to the base, above 1.
	Tolerance float64
}

const (
	// steepest is the lowest gradient: the least factor of the limit before damping.
	steepest = 0.5
	// damping is the share of a step that is applied, since its effect appears late.
	damping = 0.5
	// growth is the growth factor of a limit that is far too low.
	growth = 1.5
)

// Start returns the initial state.
func (g Gradient) Start() State { return g.start() }

// Next returns the state that follows from a window, and the reason.
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
		case w.Drops > 0: // the backends have their own limits
			return s, ReasonDrops
		case w.Peak >= int(s.Limit):
			s.Limit = g.clamp(s.Limit*growth + more)
			s.LargeStep = true
			return s, ReasonRoom
		}
		s.Limit = g.clamp(s.Limit + more)
		return s, ReasonCalm
	}
	gradient := math.Max(steepest, math.Min(1, g.Tolerance*float64(s.Base)/float64(w.Latency)))
	step := (s.Limit*gradient + more - s.Limit) * damping
	if step < 0 {
		return s, s.shrink(g.clamp(s.Limit+step), w)
	}
	s.Before.Limit = 0
	if w.Drops > 0 {
		return s, ReasonDrops
	}
	s.Limit = g.clamp(s.Limit + step)
	return s, ReasonSteady
}
