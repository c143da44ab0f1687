// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// EjectionState is the state of the circuit breaker of a backend.
type EjectionState uint32

// The states of an ejection. A backend goes from Healthy to Ejected, and to HalfOpen when its
// time is over. One request, the trial, may then be sent; the state is Probing while it is in
// flight. The outcome of the trial leads to Healthy or back to Ejected.
const (
	Healthy EjectionState = iota
	Ejected
	HalfOpen
	Probing
)

var ejectionStateNames = [...]string{"in", "ejected", "trial", "trying"}

// String returns the name in the admin API.
func (p EjectionState) String() string { return ejectionStateNames[p] }

// reservationTimeout is how long a request selected for a trial may take to reach the transport.
// After that, another request may be the trial.
const reservationTimeout = time.Second

// Ejection is the circuit breaker of a backend: it removes the backend because of its outcomes. It
// does not depend on checks and operators, and ends by itself. Safe for concurrent use.
type Ejection struct {
	state       atomic.Uint32
	consecutive atomic.Int32 // errors since the last success
	*ejections               // apart, because few requests read it
}

// ejections is the part of an Ejection that few requests read.
type ejections struct {
	errors         atomic.Int64 // attempts that count as errors, in all
	noConnection   atomic.Int64 // of errors: attempts that failed to connect
	connectionSeen atomic.Bool  // one of the consecutive errors was on an established connection
	reservedAt     atomic.Int64 // when the trial was reserved, as of clock.Now; 0 for not
	dueAt          atomic.Int64 // when the trial became due, as of clock.Now
	total          atomic.Int64

	mu               sync.Mutex // held while state changes; guards the fields below
	until            time.Duration
	times            int  // recent ejections; each makes the next one longer
	onlyNoConnection bool // all errors failed to connect: see EjectionReport
	reason           string
	window           interval
}

// Init must be called once, before any other method.
func (e *Ejection) Init() { e.ejections = new(ejections) }

// EjectionState returns the state.
func (e *Ejection) EjectionState() EjectionState { return EjectionState(e.state.Load()) }

// Ejections returns the number of ejections since the state was created.
func (e *Ejection) Ejections() int64 { return e.total.Load() }

// Allows reports whether a request may be sent, possibly as the trial.
func (e *Ejection) Allows() bool {
	switch e.EjectionState() {
	case Healthy:
		return true
	case HalfOpen:
		reserved := e.reservedAt.Load()
		return reserved == 0 || int64(clock.Now())-reserved > int64(reservationTimeout)
	}
	return false
}

// TrialOverdue reports whether the trial of a half-open backend has been due for longer than a time.
func (e *Ejection) TrialOverdue(now, longer time.Duration) bool {
	return now-time.Duration(e.dueAt.Load()) > longer
}

// ReserveTrial reserves the trial of a half-open backend for a request that was selected. ok is
// false if the backend is ejected, or if another request has the trial. A nonzero undo cancels
// the reservation, see CancelTrial.
func (e *Ejection) ReserveTrial() (undo int64, ok bool) {
	if e.EjectionState() == Healthy {
		return 0, true
	}
	reserved, now := e.reservedAt.Load(), int64(clock.Now())
	return now, e.EjectionState() == HalfOpen && (reserved == 0 || now-reserved > int64(reservationTimeout)) && e.reservedAt.CompareAndSwap(reserved, now)
}

// CancelTrial cancels the reservation, so that another request may be the trial.
func (e *Ejection) CancelTrial(undo int64) {
	if undo != 0 {
		e.reservedAt.CompareAndSwap(undo, 0)
	}
}

// BeginTrial reports whether the attempt that begins is the trial.
func (e *Ejection) BeginTrial() bool {
	return e.state.Load() != uint32(Healthy) && e.state.CompareAndSwap(uint32(HalfOpen), uint32(Probing))
}

// Eject ejects the backend for EjectFor times the number of recent ejections, at most
// MaxEjectFor. It does nothing if the backend was ejected already. noConnection reports that all
// errors that led to it failed to connect.
func (e *Ejection) Eject(now time.Duration, rules *Rules, reason string, noConnection bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() == Ejected {
		return
	}
	e.times++
	e.total.Add(1)
	e.reason = clip.Text(reason)
	e.onlyNoConnection = noConnection
	e.until = now + rules.MaxEjectFor
	if int64(e.times) <= int64(rules.MaxEjectFor/rules.EjectFor) {
		e.until = now + rules.EjectFor*time.Duration(e.times)
	}
	e.clear()
	e.state.Store(uint32(Ejected))
}

// clear resets the count of consecutive errors.
func (e *Ejection) clear() {
	e.consecutive.Store(0)
	e.connectionSeen.Store(false)
}

// ExpireNow ends the time of an ejection, so that the trial is due. It is called when the checks
// show that the backend is back.
func (e *Ejection) ExpireNow(now time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() == Ejected {
		e.until = min(e.until, now)
	}
}

// Expire makes a backend half-open if the time of its ejection is over, and reports whether it has.
func (e *Ejection) Expire(now time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() != Ejected || now < e.until {
		return false
	}
	e.reservedAt.Store(0)
	e.dueAt.Store(int64(now))
	e.state.Store(uint32(HalfOpen))
	return true
}

// TrialSucceeded ends the ejection after a successful trial.
func (e *Ejection) TrialSucceeded() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() == Probing {
		e.window.start = 0
		e.clear()
		e.state.Store(uint32(Healthy))
	}
}

// inconclusive makes the backend half-open again after a trial without a result, so that another request is the
// trial.
func (e *Ejection) inconclusive() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() == Probing {
		e.reservedAt.Store(0)
		e.state.Store(uint32(HalfOpen))
	}
}

// Uneject ends the ejection without a trial, and reports whether there was one.
func (e *Ejection) Uneject() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.EjectionState() != Healthy
	e.clear()
	e.state.Store(uint32(Healthy))
	return was
}

// EjectionReport is a copy of the ejection state of a backend.
type EjectionReport struct {
	// State is the current state.
	State EjectionState
	// Until is when an ejected backend becomes half-open, as of [clock.Now].
	Until time.Duration
	// Times is the number of recent ejections, by which the next one is longer. Clean intervals
	// lower it.
	Times int
	// Total is as [Ejection.Ejections].
	Total int64
	// Reason is the cause of the latest ejection.
	Reason string
	// OnlyNoConnection reports that all errors that led to the ejection were failures to connect.
	// They do not matter once the server accepts connections again.
	OnlyNoConnection bool
}

// EjectionReport returns a consistent copy.
func (e *Ejection) EjectionReport() EjectionReport {
	e.mu.Lock()
	defer e.mu.Unlock()
	return EjectionReport{State: e.EjectionState(), Until: e.until, Times: e.times, Total: e.total.Load(), Reason: e.reason, OnlyNoConnection: e.onlyNoConnection}
}

// Errors returns the number of attempts that counted as errors.
func (e *Ejection) Errors() int64 { return e.errors.Load() }
