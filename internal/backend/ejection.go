// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// EjectionState is how far a backend is ejected.
type EjectionState uint32

// The phases of an ejection. A backend goes from Healthy to Ejected, after a time to
// HalfOpen, where one request may probe it, to Probing while that request is on its
// way, and from there to Healthy or, if it failed, Ejected again.
const (
	Healthy EjectionState = iota
	Ejected
	HalfOpen
	Probing
)

var ejectionStateNames = [...]string{"in", "ejected", "trial", "trying"}

// String returns the name in the admin API.
func (p EjectionState) String() string { return ejectionStateNames[p] }

// reservationTimeout is for how long a request that was selected for a trial may take to
// reach the transport. One that never does, gives the trial up.
const reservationTimeout = time.Second

// Ejection is whether a backend is taken out because of its outcomes. It belongs
// to no check and to no operator: it ends by itself. Safe for concurrent use.
type Ejection struct {
	state       atomic.Uint32
	consecutive atomic.Int32 // errors since the last success
	*ejections               // apart, for few requests look there
}

// ejections is what is known of the ejections of a backend.
type ejections struct {
	errors         atomic.Int64 // attempts that count as errors, in all
	noConnection   atomic.Int64 // of these, attempts that found no connection
	connectionSeen atomic.Bool  // of the latest in a row, one shows that somebody was there
	reservedAt     atomic.Int64 // when the trial was given to a request, as of Now; 0 for not
	total          atomic.Int64

	mu               sync.Mutex // held while phase changes; guards what follows
	until            time.Duration
	times            int  // how often of late: each makes the next one longer
	onlyNoConnection bool // nobody was there: see ejectGone
	reason           string
	window           interval
}

// interval is a stretch of outcomes that are judged together at its end.
type interval struct {
	start         time.Duration // 0: there is none yet
	ended, errors int64
	noConnection  int64
	answered      int64
	firstByte     int64
}

// EjectionState returns the phase.
func (e *Ejection) EjectionState() EjectionState { return EjectionState(e.state.Load()) }

// Ejections counts the ejections since the backend was first known.
func (e *Ejection) Ejections() int64 { return e.total.Load() }

// open reports whether a request may be sent: any, or the one of a trial.
func (e *Ejection) open() bool {
	switch e.EjectionState() {
	case Healthy:
		return true
	case HalfOpen:
		at := e.reservedAt.Load()
		return at == 0 || int64(clock.Now())-at > int64(reservationTimeout)
	}
	return false
}

// reserveTrial claims the trial, if there is one, for a request that was selected. It
// reports false if another has claimed it. What it returns, if not 0, undoes it.
func (e *Ejection) reserveTrial() (undo int64, ok bool) {
	if e.EjectionState() == Healthy {
		return 0, true
	}
	at, now := e.reservedAt.Load(), int64(clock.Now())
	return now, e.EjectionState() == HalfOpen && (at == 0 || now-at > int64(reservationTimeout)) && e.reservedAt.CompareAndSwap(at, now)
}

// cancelTrial has another request have the trial.
func (e *Ejection) cancelTrial(undo int64) {
	if undo != 0 {
		e.reservedAt.CompareAndSwap(undo, 0)
	}
}

// beginTrial reports whether the attempt that begins is the trial.
func (e *Ejection) beginTrial() bool {
	return e.state.Load() != uint32(Healthy) && e.state.CompareAndSwap(uint32(HalfOpen), uint32(Probing))
}

// eject takes the backend out, the longer the oftener it was of late, and reports
// whether it was in, or on trial.
func (e *Ejection) eject(now time.Duration, rules *OutlierRules, reason string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() == Ejected {
		return false
	}
	e.times++
	e.total.Add(1)
	e.reason = clip.Text(reason)
	e.onlyNoConnection = false
	e.until = now + rules.MaxEjectFor
	if int64(e.times) <= int64(rules.MaxEjectFor/rules.EjectFor) {
		e.until = now + rules.EjectFor*time.Duration(e.times)
	}
	e.clear()
	e.state.Store(uint32(Ejected))
	return true
}

// clear begins a new row of errors.
func (e *Ejection) clear() {
	e.consecutive.Store(0)
	e.connectionSeen.Store(false)
}

// ExpireNow ends the time of an ejection, so that the backend may be tried: its checks
// have seen it go down, and come back.
func (e *Ejection) ExpireNow() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() == Ejected {
		e.until = clock.Now()
	}
}

// Expire lets a backend whose time is over be tried, and reports whether it did.
func (e *Ejection) Expire(now time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() != Ejected || now < e.until {
		return false
	}
	e.reservedAt.Store(0)
	e.state.Store(uint32(HalfOpen))
	return true
}

// succeeded ends the ejection after a trial.
func (e *Ejection) succeeded() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.EjectionState() == Probing {
		e.window.start = 0
		e.clear()
		e.state.Store(uint32(Healthy))
	}
}

// inconclusive has another request make the trial.
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

// EjectionReport tells of the ejections of a backend.
type EjectionReport struct {
	// State is how far the backend is ejected.
	State EjectionState
	// Until is when it may be tried, as of [Now], if it is Out.
	Until time.Duration
	// Times is what the next ejection is longer by; clean intervals lower it.
	Times int
	// Total is as [Ejection.Ejections].
	Total int64
	// Reason is why the latest was made.
	Reason string
	// OnlyNoConnection says that all errors that led to it found nobody there: they say nothing
	// of who is there now.
	OnlyNoConnection bool
}

// EjectionReport returns a consistent copy of what is known.
func (e *Ejection) EjectionReport() EjectionReport {
	e.mu.Lock()
	defer e.mu.Unlock()
	return EjectionReport{State: e.EjectionState(), Until: e.until, Times: e.times, Total: e.total.Load(), Reason: e.reason, OnlyNoConnection: e.onlyNoConnection}
}
