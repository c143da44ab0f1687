// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
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
	// Reason is the cause of the state; empty if there is nothing to report.
	Reason string
	// Since is the time at which the backend entered the state, or since which this process knows it.
	Since time.Time
}

// The bits of Backend.barred: causes for which a backend gets no requests, in addition to those in its State.
const (
	barDraining uint32 = 1 << iota // see SetDraining
	barJoining                     // see SetJoining
)

// bar sets or clears a bit, and reports whether it has changed.
func (b *Backend) bar(bit uint32, set bool) (changed bool) {
	if set {
		return b.barred.Or(bit)&bit == 0
	}
	return b.barred.And(^bit)&bit != 0
}

// SetDraining sets whether discovery wants the backend to be drained: it gets no new requests, except those of its
// sessions. It reports whether that has changed; the caller must then publish a view of the pool.
func (b *Backend) SetDraining(draining bool) (changed bool) { return b.bar(barDraining, draining) }

// SetJoining sets whether the backend is joining a pool that serves without it. A joining backend is down until it
// has passed its checks once or, without any, has accepted a connection. It reports whether that has changed; the
// caller must then publish a view of the pool.
func (b *Backend) SetJoining(joining bool) (changed bool) { return b.bar(barJoining, joining) }

// Joining reports what [Backend.SetJoining] has set.
func (b *Backend) Joining() bool { return b.barred.Load()&barJoining != 0 }

// JoinFailed records why the backend has accepted no connection.
func (b *Backend) JoinFailed(err error) {
	b.joinFailure.Store(new(clip.Text(err.Error())))
}

// joiningReason returns why the backend still joins.
func (b *Backend) joiningReason() string {
	if err := b.joinFailure.Load(); err != nil {
		return *err
	}
	for _, v := range b.statuses {
		if err := v.Report().LastError; err != "" {
			return err
		}
	}
	return "it has just joined, and was not probed yet"
}

// out reports whether the operator or discovery wants no new requests.
func (b *Backend) out() bool { return b.Operator.Out() || b.barred.Load()&barDraining != 0 }

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

// Admin returns the most restrictive administrative state that the operator, discovery or an agent has set, and
// which of them has. A removed backend is in maintenance.
func (b *Backend) Admin() (state health.Admin, by string) {
	if b.Removed() {
		return health.Maint, "removal"
	}
	state, by = b.AdminState(), "operator"
	if b.barred.Load()&barDraining != 0 && state < health.Drain {
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
	if b.Joining() {
		return StateDown, b.joiningReason()
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
