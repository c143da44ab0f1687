// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import "time"

// AIMD, additive increase and multiplicative decrease, raises the limit until backends refuse
// requests, or do not answer them in time (Chiu and Jain 1989). It needs no base. It is for
// backends that refuse excess requests.
type AIMD struct {
	Bounds
	// Timeout is the highest mean latency, above 0.
	Timeout time.Duration
}

const (
	// backoff is the factor by which a limit that was too high decreases.
	backoff = 0.9
	// aimdDrops is the share of drops above which the limit was too high: some requests fail
	// at any load.
	aimdDrops = 0.01
)

// Start returns the initial state.
func (a AIMD) Start() State { return a.start() }

// Next returns the state that follows from a window, and the reason.
func (a AIMD) Next(s State, w Window) (State, Reason) {
	switch {
	case w.Answers == 0: // no traffic
		return s, ReasonIdle
	case float64(w.Drops) > aimdDrops*float64(w.Answers):
		s.Limit = a.clamp(s.Limit * backoff)
		return s, ReasonDrops
	case w.Latency > a.Timeout:
		s.Limit = a.clamp(s.Limit * backoff)
		return s, ReasonSlow
	case s.idle(w):
		return s, ReasonIdle
	}
	s.Limit = a.clamp(s.Limit + 1)
	return s, ReasonCalm
}
