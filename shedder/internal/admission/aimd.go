// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import "time"

// AIMD, additive increase and multiplicative decrease, tries more until requests
// are refused behind the limit, or are not answered in time (Chiu and Jain 1989).
// It needs no base: it is for backends that say no.
type AIMD struct {
	Bounds
	// Timeout is how long answers may take on average, above 0.
	Timeout time.Duration
}

const (
	// backoff is what is left of a limit that was too high.
	backoff = 0.9
	// aimdDrops is the share of drops from which on it was: some requests fail
	// in any case.
	aimdDrops = 0.01
)

// Start returns the state to begin with.
func (a AIMD) Start() State { return a.start() }

// Next returns what follows from a window, and why.
func (a AIMD) Next(s State, w Window) (State, Reason) {
	switch {
	case w.Answers == 0: // there is nobody, and not too much
		return s, ReasonIdle
	case float64(w.Drops) > aimdDrops*float64(w.Answers):
		s.Limit = a.keep(s.Limit * backoff)
		return s, ReasonDrops
	case w.Latency > a.Timeout:
		s.Limit = a.keep(s.Limit * backoff)
		return s, ReasonSlow
	case s.idle(w):
		return s, ReasonIdle
	}
	s.Limit = a.keep(s.Limit + 1)
	return s, ReasonCalm
}
