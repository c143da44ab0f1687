// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package health holds the status of health checks and the instructions of agents.
package health

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

// Status is what one health check says of one backend. It changes only after
// enough consecutive results that contradict it; a result that agrees with it
// starts the count again. Safe for concurrent use.
type Status struct {
	// Time is the average time that a probe takes; one that fails counts as 5s.
	Time     latency.EWMA
	duration latency.EWMA // likewise, as it was

	bits        atomic.Uint32
	maxRequests atomic.Int64 // what an agent asks for, 0 for no bound

	mu          sync.Mutex    // held where bits are written; guards what follows
	reached     bool          // a verdict was reached, so the initial state is history
	guarded     bool          // going down waits for Hold
	streak      int           // consecutive results that contradict up
	passesInRow int           // consecutive passes, see Row
	since       time.Duration // when the latest run of failures began
	passes      uint64
	fails       uint64
	failed      time.Duration // when the latest result was, if it is a failure
	shortages   uint64        // probes for want of what this machine has run out of
	took        time.Duration // all probes together
	lastErr     string
	weight      *AgentWeight // what an agent asks for
	admin       Admin        // likewise
	reason      string       // why an agent says down
}

// The bits of a verdict.
const (
	bitDown       uint32 = 1 << iota // the results say so
	bitSuppressed                    // but are not believed, see Hold
	bitOut                           // an agent wants no requests
	bitBounded                       // an agent bounds them
)

// NewStatus returns a verdict that is up or down until results change it.
func NewStatus(up bool) *Status {
	v := new(Status)
	v.set(up)
	return v
}

func (v *Status) set(up bool) {
	if up {
		v.bits.And(^bitDown)
	} else {
		v.bits.Or(bitDown)
	}
}

// Up reports what the verdict is: up if the results say so, or are not believed.
func (v *Status) Up() bool { return v.bits.Load()&(bitDown|bitSuppressed) != bitDown }

// Open reports whether the backend may get requests as far as the verdict is
// concerned: it is up, and no agent of it has asked for none.
func (v *Status) Open() bool {
	bits := v.bits.Load()
	return bits == 0 || bits&bitOut == 0 && bits&(bitDown|bitSuppressed) != bitDown
}

// Suppress has a verdict go on to count as up while results take it down, or no longer,
// and reports whether that changes what it counts as. One that was seen down stays
// down: only probes that pass bring it up.
func (v *Status) Suppress(hold bool) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.Up()
	if hold && !before {
		return false
	}
	if hold {
		v.bits.Or(bitSuppressed)
	} else {
		v.bits.And(^bitSuppressed)
	}
	return v.Up() != before
}

// SetGuarded has results that take the verdict down be held until Hold says
// otherwise, or not.
func (v *Status) SetGuarded(guarded bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.guarded = guarded
}

// Suppressed reports whether the results are not believed.
func (v *Status) Suppressed() bool { return v.bits.Load()&bitSuppressed != 0 }

// FailedSince reports whether the latest probe has failed, and ended after a time.
func (v *Status) FailedSince(at time.Duration) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed > at
}

// Failing reports whether the latest results are failures, and since when.
func (v *Status) Failing() (since time.Duration, failing bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.since, v.Passing() == (v.streak > 0)
}

// Passing reports what the results say, believed or not.
func (v *Status) Passing() bool { return v.bits.Load()&bitDown == 0 }

// Observe takes the result of one probe, nil for a pass, and reports whether
// the verdict changed: to up after passes consecutive passes, to down after
// fails consecutive failures. Both must be at least 1.
func (v *Status) Observe(result error, passes, fails int) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	threshold := fails
	if v.passesInRow++; result != nil {
		v.passesInRow = 0
	}
	if result == nil {
		v.passes++
		v.lastErr, v.failed = "", 0
		threshold = passes
	} else {
		v.fails++
		v.failed = clock.Now()
		v.lastErr = clip.Text(result.Error())
	}
	if up := v.Passing(); (result == nil) == up {
		v.streak, v.reached = 0, true
		return false
	}
	v.streak++
	if v.streak == 1 && result != nil {
		v.since = clock.Now()
	}
	if v.streak < threshold {
		return false
	}
	v.streak, v.reached = 0, true
	if v.guarded && result != nil {
		v.bits.Or(bitDown | bitSuppressed) // at once: nobody must see it down before
	} else {
		v.set(result == nil)
	}
	return true
}

// PassesInRow returns how many probes have passed in a row, since one failed or the backend
// was ejected.
func (v *Status) PassesInRow() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.passesInRow
}

// ResetPasses begins [Status.PassesInRow] anew.
func (v *Status) ResetPasses() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.passesInRow = 0
}

// Passed reports whether a probe has ever passed.
func (v *Status) Passed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.passes > 0
}

// ObserveShortage counts a probe that failed because this machine lacked what a
// connection needs: it says nothing of the backend.
func (v *Status) ObserveShortage() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shortages++
}

// Admitted reports whether no agent asks for no requests.
func (v *Status) Admitted() bool { return v.bits.Load()&bitOut == 0 }

// ObserveDuration records how long a probe took.
func (v *Status) ObserveDuration(result error, d time.Duration) {
	v.mu.Lock()
	v.took += d
	v.mu.Unlock()
	v.duration.Observe(clock.Now(), d, latency.Decay)
	if result != nil {
		d = latency.Penalty
	}
	v.Time.Observe(clock.Now(), d, latency.Decay)
}

// MeanDuration returns the average time that a probe has taken of late, whether it passed or
// not, 0 if none was made.
func (v *Status) MeanDuration() time.Duration {
	return time.Duration(v.duration.Value(clock.Now(), latency.Decay))
}

// SetInitial sets the state before the first verdict. It does nothing once a
// probe has confirmed or changed the state.
func (v *Status) SetInitial(up bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.reached && v.streak == 0 {
		v.set(up)
	}
}

// Pending reports whether results have begun to contradict the verdict.
func (v *Status) Pending() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.streak > 0
}

// Report tells what led to a verdict.
type Report struct {
	// Up is the verdict.
	Up bool
	// Passes and Fails count the probes since the verdict was first leased.
	Passes, Fails uint64
	// Shortages counts those that could not be made, as [Verdict.TakeShortage] says.
	Shortages uint64
	// Duration is how long they took together.
	Duration time.Duration
	// LastError is why the latest probe failed, empty if it passed.
	LastError string
}

// Report returns a consistent copy of what the verdict holds.
func (v *Status) Report() Report {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Report{Up: v.Up(), Passes: v.passes, Fails: v.fails, Shortages: v.shortages, Duration: v.took, LastError: v.lastErr}
}
