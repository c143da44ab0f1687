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

// Status is the state of one backend in one health check. It changes only after enough
// consecutive results that contradict it; a result that agrees with it resets the count. Safe for
// concurrent use.
type Status struct {
	// Time is the average duration of a probe; a failed probe counts as 5 s.
	Time     latency.EWMA
	duration latency.EWMA // like Time, with the real duration of failed probes

	bits        atomic.Uint32
	maxRequests atomic.Int64 // set by an agent, 0 for no limit

	mu          sync.Mutex    // held while bits are written; guards the fields below
	reached     bool          // a result has confirmed or changed the initial state
	guarded     bool          // a change to down is suppressed first, see SetGuarded
	streak      int           // consecutive results that contradict Passing
	passesInRow int           // consecutive passes, see PassesInRow
	since       time.Duration // when the latest run of failures began
	passes      uint64
	fails       uint64
	failed      time.Duration // when the latest probe failed; 0 if it passed
	shortages   uint64        // probes that failed for lack of a local resource
	took        time.Duration // total duration of all probes
	latest      time.Duration // duration of the latest probe
	ended       time.Time     // when the latest probe ended; zero before the first
	lastErr     string
	weight      *AgentWeight // set by an agent
	admin       Admin        // set by an agent
	reason      string       // the reason of an agent's down
}

// The bits of a status.
const (
	bitDown       uint32 = 1 << iota // the results say down
	bitSuppressed                    // counts as up despite the results, see Suppress
	bitOut                           // an agent has set drain or maint
	bitBounded                       // an agent limits the requests
)

// NewStatus returns a status that is up or down until results change it.
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

// Up reports whether the status is up, by its results or because it is suppressed.
func (v *Status) Up() bool { return v.bits.Load()&(bitDown|bitSuppressed) != bitDown }

// Open reports whether the check lets requests through: it is up, and its agent, if any, is
// ready.
func (v *Status) Open() bool {
	bits := v.bits.Load()
	return bits == 0 || bits&bitOut == 0 && bits&(bitDown|bitSuppressed) != bitDown
}

// Suppress with hold makes the status count as up although its results say down, and without hold
// ends that. It reports whether Up has changed. A status that has counted as down stays down until
// probes pass.
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

// SetGuarded sets whether a change to down is suppressed at once, until Suppress ends that.
func (v *Status) SetGuarded(guarded bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.guarded = guarded
}

// Suppressed reports whether the results are suppressed.
func (v *Status) Suppressed() bool { return v.bits.Load()&bitSuppressed != 0 }

// FailedSince reports whether the latest probe failed, and ended after at.
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

// Passing reports whether the results say up, suppressed or not.
func (v *Status) Passing() bool { return v.bits.Load()&bitDown == 0 }

// Observe records the result of one probe, nil for a pass, and reports whether the status
// changed: to up after passes consecutive passes, to down after fails consecutive failures. Both
// must be at least 1.
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
		v.bits.Or(bitDown | bitSuppressed) // in one step, so that no reader sees it down
	} else {
		v.set(result == nil)
	}
	return true
}

// PassesInRow returns the number of consecutive passes since the latest failure or ejection.
func (v *Status) PassesInRow() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.passesInRow
}

// ResetPasses resets [Status.PassesInRow].
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

// ObserveShortage counts a probe that failed because this machine lacked a resource for the
// connection. It does not count against the backend.
func (v *Status) ObserveShortage() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shortages++
}

// Admitted reports whether the agent, if any, is ready.
func (v *Status) Admitted() bool { return v.bits.Load()&bitOut == 0 }

// ObserveDuration records the duration of a probe.
func (v *Status) ObserveDuration(result error, d time.Duration) {
	v.mu.Lock()
	v.took += d
	v.latest, v.ended = d, time.Now()
	v.mu.Unlock()
	v.duration.Observe(clock.Now(), d, latency.Decay)
	if result != nil {
		d = latency.Penalty
	}
	v.Time.Observe(clock.Now(), d, latency.Decay)
}

// MeanDuration returns the average duration of recent probes, passed or failed; 0 before the
// first one.
func (v *Status) MeanDuration() time.Duration {
	return time.Duration(v.duration.Value(clock.Now(), latency.Decay))
}

// SetInitial sets the state before the first result. It does nothing once a probe has confirmed
// or changed the state.
func (v *Status) SetInitial(up bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.reached && v.streak == 0 {
		v.set(up)
	}
}

// Pending reports whether the latest results contradict the status, but are too few to change it.
func (v *Status) Pending() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.streak > 0
}

// Report is a copy of a status and its counters.
type Report struct {
	// Up is the status.
	Up bool
	// Passes and Fails count the probes since the status was created.
	Passes, Fails uint64
	// Shortages counts the probes that could not be made, see [Status.ObserveShortage].
	Shortages uint64
	// Duration is the total duration of the probes.
	Duration time.Duration
	// LastError is why the latest probe failed; empty if it passed.
	LastError string
	// Latest is the duration of the latest probe, and Ended when it ended, zero before the first.
	Latest time.Duration
	// Ended is described at Latest.
	Ended time.Time
}

// Report returns a consistent copy.
func (v *Status) Report() Report {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Report{Up: v.Up(), Passes: v.passes, Fails: v.fails, Shortages: v.shortages, Duration: v.took, LastError: v.lastErr, Latest: v.latest, Ended: v.ended}
}
