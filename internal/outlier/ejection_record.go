// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// EjectionRecord is the ejection state of a backend.
type EjectionRecord struct {
	// Until is when the backend becomes half-open; zero if it is not ejected.
	Until time.Time `json:"until,omitzero"`
	// Times is the number of recent ejections, by which the next one is longer, up to 1,000,000.
	Times int `json:"times,omitempty"`
	// Reason is the cause of the ejection, in at most 512 bytes.
	Reason string `json:"reason,omitempty"`
}

// MaxRecordedEjections limits the number of recent ejections in a record.
const MaxRecordedEjections = 1_000_000

// ToRecord returns nil for a backend without recent ejections.
func (e *Ejection) ToRecord(now time.Duration) *EjectionRecord {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &EjectionRecord{Times: min(e.times, MaxRecordedEjections)}
	if e.EjectionState() == Healthy {
		if r.Times == 0 {
			return nil
		}
		return r
	}
	// UTC().Round strips the monotonic clock. Whole seconds keep the value the same in each
	// snapshot.
	r.Until = time.Now().Add(e.until - now).UTC().Round(time.Second)
	r.Reason = e.reason
	return r
}

// Restore ejects the backend for the rest of the time, at most MaxEjectFor. If the time is over,
// the backend is half-open, since nothing has shown that it has recovered.
func (e *Ejection) Restore(r *EjectionRecord, rules *Rules) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := clock.Now()
	e.times, e.reason, e.until = r.Times, clip.Text(r.Reason), now
	if r.Until.IsZero() {
		return
	}
	left := min(time.Until(r.Until), rules.MaxEjectFor)
	e.until = now + left
	if left > 0 {
		e.state.Store(uint32(Ejected))
	} else {
		e.dueAt.Store(int64(now))
		e.state.Store(uint32(HalfOpen))
	}
}
