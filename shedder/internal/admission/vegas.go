// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import "math"

// Vegas keeps a few requests waiting at the backends. It estimates their number from the
// latency relative to the base (Brakmo and Peterson 1994; Netflix's concurrency-limits). Its
// base neither drifts nor gets stuck: see [State]. It lets fewer requests wait than
// [Gradient], and refuses more in a burst.
type Vegas struct {
	Bounds
}

// Bounds of the number of waiting requests, in multiples of a step, the logarithm of the
// limit.
const vegasFew, vegasMany = 3, 6

// Start returns the initial state.
func (v Vegas) Start() State { return v.start() }

// Next returns the state that follows from a window, and the reason.
func (v Vegas) Next(s State, w Window) (State, Reason) {
	if reason, decided := s.measure(w); decided {
		return s, reason
	}
	if s.idle(w) {
		return s, ReasonIdle
	}
	step := math.Max(1, math.Log10(s.Limit))
	// Not the limit, which may be far above the number in flight.
	waiting := math.Min(s.Limit, float64(w.Peak)) * (1 - float64(s.Base)/math.Max(float64(w.Latency), float64(s.Base)))
	if waiting <= vegasMany*step {
		s.Before.Limit = 0
	}
	switch {
	case waiting > vegasMany*step:
		// Remove half of the excess at once: single steps would take minutes to drain a burst of
		// hundreds.
		return s, s.shrink(v.clamp(s.Limit-math.Max(step, (waiting-vegasMany*step)*damping)), w)
	case w.Drops > 0:
		s.Limit = v.clamp(s.Limit - step)
		return s, ReasonDrops
	case waiting >= vegasFew*step:
		return s, ReasonSteady
	case w.Peak >= int(s.Limit) && s.calm(w):
		s.Limit = v.clamp(s.Limit*growth + step)
		s.LargeStep = true
		return s, ReasonRoom
	}
	s.Limit = v.clamp(s.Limit + step)
	return s, ReasonCalm
}
