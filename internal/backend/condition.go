// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// The states of a backend in the admin API. If several apply, the first in this list is reported.
const (
	StateMaint   = "maint"   // an operator or an agent wants no requests at all
	StateDrain   = "drain"   // likewise, except for requests of its sessions
	StateDown    = "down"    // a health check fails
	StateEjected = "ejected" // outlier detection has ejected it
	StateTrial   = "trial"   // half-open: one request decides whether it returns
	StateUp      = "up"
)

// Condition is the state of a backend and its cause. Read-only.
type Condition struct {
	// State is one of the State constants.
	State string
	// Reason is the cause; empty if there is none to report.
	Reason string
	// Since is when the backend entered the state, as far as this process knows.
	Since time.Time
}

// SetDraining says whether discovery wants no new requests for the backend, except those of its
// sessions. It reports whether that has changed; the pool then has to publish a view.
func (b *Backend) SetDraining(draining bool) (changed bool) {
	return b.draining.Swap(draining) != draining
}

// out reports whether the operator or discovery wants no new requests.
func (b *Backend) out() bool { return b.Operator.Out() || b.draining.Load() }

// Condition returns the current condition.
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

// Admin returns the most restrictive administrative state that the operator, discovery or an agent
// wants, and who does.
func (b *Backend) Admin() (state health.Admin, by string) {
	state, by = b.AdminState(), "operator"
	if b.draining.Load() && state < health.Drain {
		state, by = health.Drain, "discovery"
	}
	for _, v := range b.statuses {
		if a := v.Admin(); a > state {
			state, by = a, "agent"
		}
	}
	return state, by
}

func (b *Backend) currentState() (state, reason string) {
	admin, by := b.Admin()
	switch admin {
	case health.Maint:
		return StateMaint, by
	case health.Drain:
		return StateDrain, by
	}
	for _, v := range b.statuses {
		if !v.Up() {
			return StateDown, cmp.Or(v.Report().LastError, "a health check is down")
		}
	}
	switch phase := b.EjectionState(); phase {
	case outlier.Ejected:
		return StateEjected, b.EjectionReport().Reason
	case outlier.HalfOpen, outlier.Probing:
		return StateTrial, b.EjectionReport().Reason
	}
	if b.Unused() {
		return StateUp, "not in the subset of this instance, which does not probe it"
	}
	if b.Suppressed() {
		return StateUp, "a check fails on most backends; the guard suppresses the result"
	}
	return StateUp, ""
}
