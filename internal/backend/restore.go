// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"math"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// Record returns the record of the backend under key. checks are the names of the checks, in
// order.
func (b *Backend) Record(key StateKey, checks []string) Record {
	now := clock.Now()
	r := Record{
		Pool: key.Pool, Address: key.Address, Duplicate: key.Duplicate,
		Ejection: b.Ejection.record(now),
		Header:   b.Header.Record(now), Body: b.Body.Record(now),
		Warm: b.Ramp.done(),
	}
	for i, v := range b.statuses {
		if c, known := v.ToRecord(checks[i]); known {
			r.Checks = append(r.Checks, c)
		}
	}
	o := OperatorRecord{Admin: b.AdminState().Recorded(), Weight: b.OperatorWeight().Bounded(), MaxRequests: b.OperatorMaxRequests()}
	if o != (OperatorRecord{}) {
		r.Operator = &o
	}
	return r
}

// Restore applies r to a new state s and to those of the statuses that have no result yet.
// Without rules no ejection is restored.
func (r *Record) Restore(s *State, rules *OutlierRules, checks []string, statuses []*health.Status) {
	if r.Ejection != nil && rules != nil {
		s.Ejection.restore(r.Ejection, rules)
	}
	now := clock.Now()
	s.Header.Restore(now, r.Header)
	s.Body.Restore(now, r.Body)
	if r.Warm {
		s.Ramp.restore()
	}
	if o := r.Operator; o != nil {
		admin, _ := health.ParseAdmin(o.Admin)
		s.SetAdmin(admin)
		s.SetWeight(o.Weight)
		s.SetMaxRequests(o.MaxRequests)
	}
	for i := range r.Checks {
		if n := slices.Index(checks, r.Checks[i].Check); n >= 0 {
			statuses[n].Restore(&r.Checks[i])
		}
	}
}

// record returns nil for a backend without recent ejections.
func (e *Ejection) record(now time.Duration) *EjectionRecord {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &EjectionRecord{Times: min(e.times, recordNumber)}
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

// restore ejects the backend for the rest of the time, at most MaxEjectFor. If the time is over,
// the backend is half-open, since nothing has shown that it has recovered.
func (e *Ejection) restore(r *EjectionRecord, rules *OutlierRules) {
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
		e.state.Store(uint32(HalfOpen))
	}
}

func (w *Ramp) done() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.phase == rampDone
}

// restore gives a backend that was never in a view its full weight, as if it had had it for long.
func (w *Ramp) restore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == rampNew {
		w.phase, w.doneAt = rampDone, math.MinInt64/2
	}
}
