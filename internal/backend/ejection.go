// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync"
	"sync/atomic"
	"time"
)

// Phase is how far a backend is ejected.
type Phase uint32

// The phases of an ejection. A backend goes from In to Out, after a time to
// Trial, where one request may probe it, to Trying while that request is on its
// way, and from there to In or, if it failed, Out again.
const (
	In Phase = iota
	Out
	Trial
	Trying
)

var phaseNames = [...]string{"in", "ejected", "trial", "trying"}

// String returns the name in the admin API.
func (p Phase) String() string { return phaseNames[p] }

// promise is for how long a request that was selected for a trial may take to
// reach the transport. One that never does, gives the trial up.
const promise = time.Second

// Ejection is whether a backend is taken out because of its outcomes. It belongs
// to no check and to no operator: it ends by itself. Safe for concurrent use.
type Ejection struct {
	phase       atomic.Uint32
	consecutive atomic.Int32 // errors since the last success
	*ejections               // apart, for few requests look there
}

// ejections is what is known of the ejections of a backend.
type ejections struct {
	errors   atomic.Int64 // attempts that count as errors, in all
	away     atomic.Int64 // of these, attempts that found no connection
	present  atomic.Bool  // of the latest in a row, one shows that somebody was there
	promised atomic.Int64 // when the trial was given to a request, as of Now; 0 for not
	total    atomic.Int64

	mu     sync.Mutex // held while phase changes; guards what follows
	until  time.Duration
	times  int  // how often of late: each makes the next one longer
	gone   bool // nobody was there: see ejectGone
	reason string
	window interval
}

// interval is a stretch of outcomes that are judged together at its end.
type interval struct {
	start         time.Duration // 0: there is none yet
	ended, errors int64
	away          int64
	answered      int64
	firstByte     int64
}

// Phase returns the phase.
func (e *Ejection) Phase() Phase { return Phase(e.phase.Load()) }

// Ejections counts the ejections since the backend was first known.
func (e *Ejection) Ejections() int64 { return e.total.Load() }

// open reports whether a request may be sent: any, or the one of a trial.
func (e *Ejection) open() bool {
	switch e.Phase() {
	case In:
		return true
	case Trial:
		at := e.promised.Load()
		return at == 0 || int64(Now())-at > int64(promise)
	}
	return false
}

// reserve claims the trial, if there is one, for a request that was selected. It
// reports false if another has claimed it. What it returns, if not 0, undoes it.
func (e *Ejection) reserve() (undo int64, ok bool) {
	if e.Phase() == In {
		return 0, true
	}
	at, now := e.promised.Load(), int64(Now())
	return now, e.Phase() == Trial && (at == 0 || now-at > int64(promise)) && e.promised.CompareAndSwap(at, now)
}

// unreserve has another request have the trial.
func (e *Ejection) unreserve(undo int64) {
	if undo != 0 {
		e.promised.CompareAndSwap(undo, 0)
	}
}

// begin reports whether the attempt that begins is the trial.
func (e *Ejection) begin() bool {
	return e.phase.Load() != uint32(In) && e.phase.CompareAndSwap(uint32(Trial), uint32(Trying))
}

// eject takes the backend out, the longer the oftener it was of late, and reports
// whether it was in, or on trial.
func (e *Ejection) eject(now time.Duration, rules *Outliers, reason string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Phase() == Out {
		return false
	}
	e.times++
	e.total.Add(1)
	e.reason = Clip(reason)
	e.gone = false
	e.until = now + rules.MaxEjectFor
	if int64(e.times) <= int64(rules.MaxEjectFor/rules.EjectFor) {
		e.until = now + rules.EjectFor*time.Duration(e.times)
	}
	e.clear()
	e.phase.Store(uint32(Out))
	return true
}

// clear begins a new row of errors.
func (e *Ejection) clear() {
	e.consecutive.Store(0)
	e.present.Store(false)
}

// Hasten ends the time of an ejection, so that the backend may be tried: its checks
// have seen it go down, and come back.
func (e *Ejection) Hasten() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Phase() == Out {
		e.until = Now()
	}
}

// Due lets a backend whose time is over be tried, and reports whether it did.
func (e *Ejection) Due(now time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Phase() != Out || now < e.until {
		return false
	}
	e.promised.Store(0)
	e.phase.Store(uint32(Trial))
	return true
}

// succeeded ends the ejection after a trial.
func (e *Ejection) succeeded() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Phase() == Trying {
		e.window.start = 0
		e.clear()
		e.phase.Store(uint32(In))
	}
}

// inconclusive has another request make the trial.
func (e *Ejection) inconclusive() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Phase() == Trying {
		e.promised.Store(0)
		e.phase.Store(uint32(Trial))
	}
}

// Pardon ends the ejection without a trial, and reports whether there was one.
func (e *Ejection) Pardon() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.Phase() != In
	e.clear()
	e.phase.Store(uint32(In))
	return was
}

// EjectionReport tells of the ejections of a backend.
type EjectionReport struct {
	// Phase is how far the backend is ejected.
	Phase Phase
	// Until is when it may be tried, as of [Now], if it is Out.
	Until time.Duration
	// Times is what the next ejection is longer by; clean intervals lower it.
	Times int
	// Total is as [Ejection.Ejections].
	Total int64
	// Reason is why the latest was made.
	Reason string
	// Gone says that all errors that led to it found nobody there: they say nothing
	// of who is there now.
	Gone bool
}

// EjectionReport returns a consistent copy of what is known.
func (e *Ejection) EjectionReport() EjectionReport {
	e.mu.Lock()
	defer e.mu.Unlock()
	return EjectionReport{Phase: e.Phase(), Until: e.until, Times: e.times, Total: e.total.Load(), Reason: e.reason, Gone: e.gone}
}
