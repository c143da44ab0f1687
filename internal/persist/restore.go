// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// RecordOf returns the record of a backend under key. checks are the names of its checks, in
// order.
func RecordOf(b *backend.Backend, key backend.StateKey, checks []string) Record {
	now := clock.Now()
	r := Record{
		Pool: key.Pool, Address: key.Address, Instance: key.Instance, Duplicate: key.Duplicate,
		Ejection: b.Ejection.ToRecord(now),
		Header:   b.Header.Record(now), Body: b.Body.Record(now), LastByte: b.LastByte.Record(now),
		Warm: b.Ramp.Done(),
	}
	for i, v := range b.Statuses() {
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
func (r *Record) Restore(s *backend.State, rules *outlier.Rules, checks []string, statuses []*health.Status) {
	if r.Ejection != nil && rules != nil {
		s.Ejection.Restore(r.Ejection, rules)
	}
	now := clock.Now()
	s.Header.Restore(now, r.Header)
	s.Body.Restore(now, r.Body)
	s.LastByte.Restore(now, r.LastByte)
	if r.Warm {
		s.Ramp.Restore()
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
