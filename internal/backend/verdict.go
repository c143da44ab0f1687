// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync"
	"sync/atomic"
	"time"
)

// Verdict is what one health check says of one backend. It changes only after
// enough consecutive results that contradict it; a result that agrees with it
// starts the count again. Safe for concurrent use.
type Verdict struct {
	// Time is the average time that a probe takes; one that fails counts as 5s.
	Time EWMA

	up atomic.Bool

	mu      sync.Mutex
	reached bool // a verdict was reached, so the initial state is history
	streak  int  // consecutive results that contradict up
	passes  uint64
	fails   uint64
	lastErr string
}

// NewVerdict returns a verdict that is up or down until results change it.
func NewVerdict(up bool) *Verdict {
	v := new(Verdict)
	v.up.Store(up)
	return v
}

// Up reports what the verdict is.
func (v *Verdict) Up() bool { return v.up.Load() }

// Observe takes the result of one probe, nil for a pass, and reports whether
// the verdict changed: to up after passes consecutive passes, to down after
// fails consecutive failures. Both must be at least 1.
func (v *Verdict) Observe(result error, passes, fails int) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	threshold := fails
	if result == nil {
		v.passes++
		v.lastErr = ""
		threshold = passes
	} else {
		v.fails++
		v.lastErr = result.Error()
	}
	if up := v.up.Load(); (result == nil) == up {
		v.streak, v.reached = 0, true
		return false
	}
	v.streak++
	if v.streak < threshold {
		return false
	}
	v.streak, v.reached = 0, true
	v.up.Store(result == nil)
	return true
}

// Timed records how long a probe took.
func (v *Verdict) Timed(result error, d time.Duration) {
	if result != nil {
		d = penalty
	}
	v.Time.Observe(Now(), d, latencyDecay)
}

// Initial sets the state before the first verdict. It does nothing once a
// probe has confirmed or changed the state.
func (v *Verdict) Initial(up bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.reached && v.streak == 0 {
		v.up.Store(up)
	}
}

// Wavering reports whether results have begun to contradict the verdict.
func (v *Verdict) Wavering() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.streak > 0
}

// VerdictReport tells what led to a verdict.
type VerdictReport struct {
	// Up is the verdict.
	Up bool
	// Passes and Fails count the probes since the verdict was first leased.
	Passes, Fails uint64
	// LastError is why the latest probe failed, empty if it passed.
	LastError string
}

// Report returns a consistent copy of what the verdict holds.
func (v *Verdict) Report() VerdictReport {
	v.mu.Lock()
	defer v.mu.Unlock()
	return VerdictReport{Up: v.up.Load(), Passes: v.passes, Fails: v.fails, LastError: v.lastErr}
}
