// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// The states that a backend can be in, as the admin API says them; of several the
// first here counts.
const (
	StateMaint   = "maint"   // an operator or an agent wants no requests at all
	StateDrain   = "drain"   // likewise, but those of sessions that are bound to it
	StateDown    = "down"    // a health check fails
	StateEjected = "ejected" // its outcomes were too bad
	StateTrial   = "trial"   // it was ejected, and one request is to show whether it is well
	StateUp      = "up"
)

// Condition is which state a backend is in, and why. Read-only.
type Condition struct {
	// State is one of the states above.
	State string
	// Reason says why, empty where there is nothing to say.
	Reason string
	// Since is when the backend came to that state, as far as this process knows.
	Since time.Time
}

// Condition returns which state the backend is in.
func (b *Backend) Condition() Condition {
	state, reason := b.currentState()
	for {
		last := b.condition.Load()
		if last != nil && last.State == state {
			return Condition{state, reason, last.Since}
		}
		if now := (&Condition{State: state, Since: time.Now()}); b.condition.CompareAndSwap(last, now) {
			return Condition{state, reason, now.Since}
		}
	}
}

func (b *Backend) currentState() (state, reason string) {
	admin, by := b.AdminState(), "operator"
	for _, v := range b.statuses {
		if a := v.Admin(); a > admin {
			admin, by = a, "agent"
		}
	}
	switch admin {
	case health.Maint:
		return StateMaint, by
	case health.Drain:
		return StateDrain, by
	}
	for _, v := range b.statuses {
		if !v.Up() {
			return StateDown, cmp.Or(v.Report().LastError, "a check says so")
		}
	}
	switch phase := b.EjectionState(); phase {
	case Ejected:
		return StateEjected, b.EjectionReport().Reason
	case HalfOpen, Probing:
		return StateTrial, b.EjectionReport().Reason
	}
	if b.Suppressed() {
		return StateUp, "fails a check that most fail, which is not believed"
	}
	return StateUp, ""
}
