// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// Snapshot is the state of all backends at one moment, for a later process.
type Snapshot struct {
	// Version is the version of the format. Encode sets it.
	Version int `json:"version"`
	// Saved is the time of the snapshot.
	Saved time.Time `json:"saved"`
	// Backends are the backends with a state worth saving, at most [MaxRecords].
	Backends []Record `json:"backends"`
	// Rollouts are the records of the rollouts of all pools, at most [maxRollouts].
	Rollouts []RolloutRecord `json:"rollouts,omitempty"`
	// Fleet are the changes that the fleet may not have, at most [maxFleet].
	Fleet []FleetRecord `json:"fleet,omitempty"`
}

// Record is the part of a snapshot that belongs to one backend.
type Record struct {
	Pool      string `json:"pool"`               // as in [backend.StateKey], at most 512 bytes
	Address   string `json:"address"`            // likewise
	Instance  string `json:"instance,omitempty"` // likewise, at most 512 bytes
	Duplicate int    `json:"twin,omitempty"`     // likewise, up to 1,000,000
	// Seen is when the backend was last a member; zero if it was one at the time of the snapshot.
	Seen time.Time `json:"seen,omitzero"`
	// Checks are the health checks with a result, at most 100.
	Checks []health.Record `json:"checks,omitempty"`
	// Ejection is nil if the backend has no recent ejections.
	Ejection *outlier.EjectionRecord `json:"ejection,omitempty"`
	Header   float64                 `json:"header,omitempty"`     // as in [latency.Tracker], in seconds up to 3600; 0 for none
	Body     float64                 `json:"body_begin,omitempty"` // likewise
	LastByte float64                 `json:"body,omitempty"`       // likewise, under the name that earlier versions wrote
	// Warm reports that the backend had its full weight.
	Warm bool `json:"warm,omitempty"`
	// Operator is nil if no operator has changed anything of the backend.
	Operator *OperatorRecord `json:"operator,omitempty"`
}

// Bounds of a snapshot.
const (
	// MaxRecords limits the number of backends.
	MaxRecords = 50_000

	snapshotVersion = 1
	snapshotBytes   = 64 << 20
	recordText      = 512 // bytes of a name or a reason
	recordCheckText = 128
	recordChecks    = 100
	recordNumber    = 1_000_000
)

// Key returns the key of the backend's State.
func (r *Record) Key() backend.StateKey {
	return backend.StateKey{Pool: r.Pool, Address: r.Address, Instance: r.Instance, Duplicate: r.Duplicate}
}

// Forget drops everything but the settings of an operator.
func (r *Record) Forget() {
	*r = Record{Pool: r.Pool, Address: r.Address, Instance: r.Instance, Duplicate: r.Duplicate, Seen: r.Seen, Operator: r.Operator}
}

// Empty reports whether the record holds no state.
func (r *Record) Empty() bool {
	return len(r.Checks) == 0 && r.Ejection == nil && r.Header == 0 && r.Body == 0 && r.LastByte == 0 && !r.Warm && r.Operator == nil
}

// Encode returns the snapshot as JSON. Backends are sorted, so that equal snapshots have equal
// bytes. It leaves out backends that DecodeSnapshot would refuse, because one invalid record
// would invalidate the whole snapshot.
func (s *Snapshot) Encode() ([]byte, error) {
	out := Snapshot{Version: snapshotVersion, Saved: s.Saved.UTC(), Backends: make([]Record, 0, len(s.Backends))}
	for _, r := range s.Backends {
		if r.check() == nil {
			out.Backends = append(out.Backends, r)
		}
	}
	for _, r := range s.Rollouts {
		if r.check() == nil && len(out.Rollouts) < maxRollouts {
			out.Rollouts = append(out.Rollouts, r)
		}
	}
	out.Fleet = encodedFleet(s.Fleet)
	out.sort()
	out.Backends = slices.CompactFunc(out.Backends, func(a, b Record) bool { return a.Key() == b.Key() })
	data, err := json.Marshal(out)
	if err == nil && len(data) > snapshotBytes {
		err = fmt.Errorf("%d backends take %d bytes, more than %d", len(out.Backends), len(data), snapshotBytes)
	}
	return data, err
}

// DecodeSnapshot decodes the output of Encode. It ignores unknown fields, so that it accepts the
// output of a later build with the same version.
func DecodeSnapshot(data []byte) (*Snapshot, error) {
	var header struct {
		Version int `json:"version"`
	}
	switch {
	case len(data) == 0:
		return nil, errors.New("the file is empty")
	case len(data) > snapshotBytes:
		return nil, fmt.Errorf("the file has %d bytes, more than %d", len(data), snapshotBytes)
	}
	if err := json.Unmarshal(data, &header); err != nil {
		return nil, err
	}
	if header.Version != snapshotVersion {
		return nil, fmt.Errorf("version %d is not supported, only %d", header.Version, snapshotVersion)
	}
	s := new(Snapshot)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, err
	}
	if err := checkTime("saved", s.Saved); err != nil {
		return nil, err
	}
	if n := len(s.Backends); n > MaxRecords {
		return nil, fmt.Errorf("the file has %d backends, more than %d", n, MaxRecords)
	}
	for i := range s.Backends {
		if err := s.Backends[i].check(); err != nil {
			return nil, fmt.Errorf("backend %d: %w", i, err)
		}
	}
	if n := len(s.Rollouts); n > maxRollouts {
		return nil, fmt.Errorf("the file has %d rollouts, more than %d", n, maxRollouts)
	}
	for i := range s.Rollouts {
		if err := s.Rollouts[i].check(); err != nil {
			return nil, fmt.Errorf("rollout %d: %w", i, err)
		}
	}
	if n := len(s.Fleet); n > maxFleet {
		return nil, fmt.Errorf("the file has %d changes of a fleet, more than %d", n, maxFleet)
	}
	for i := range s.Fleet {
		if err := s.Fleet[i].check(); err != nil {
			return nil, fmt.Errorf("change %d of a fleet: %w", i, err)
		}
	}
	s.Saved = s.Saved.UTC()
	s.sort()
	for i := range s.Backends {
		if i > 0 && s.Backends[i].Key() == s.Backends[i-1].Key() {
			return nil, fmt.Errorf("backend %s of pool %s occurs twice", s.Backends[i].Address, s.Backends[i].Pool)
		}
	}
	return s, nil
}

func (s *Snapshot) sort() {
	slices.SortStableFunc(s.Rollouts, func(a, b RolloutRecord) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Group, b.Group))
	})
	slices.SortStableFunc(s.Backends, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Duplicate, b.Duplicate))
	})
}

// check returns an error for each value that is out of bounds.
func (r *Record) check() error {
	err := errors.Join(
		checkText("pool", r.Pool, 1, recordText), checkText("address", r.Address, 1, recordText), checkText("instance", r.Instance, 0, recordText),
		checkNumber("twin", float64(r.Duplicate), recordNumber),
		checkNumber("header", r.Header, latency.MaxRecordedSeconds), checkNumber("body_begin", r.Body, latency.MaxRecordedSeconds), checkNumber("body", r.LastByte, latency.MaxRecordedSeconds),
		checkNumber("the number of checks", float64(len(r.Checks)), recordChecks))
	if !r.Seen.IsZero() {
		err = errors.Join(err, checkTime("seen", r.Seen))
	}
	for _, c := range r.Checks {
		err = errors.Join(err, checkText("check", c.Check, 1, recordCheckText), c.Weight.Check(),
			checkNumber("max_requests", float64(c.MaxRequests), health.MaxRecordedRequests), health.CheckAdmin(c.Admin))
	}
	if e := r.Ejection; e != nil {
		if !e.Until.IsZero() {
			err = errors.Join(err, checkTime("until", e.Until))
		}
		err = errors.Join(err, checkNumber("times", float64(e.Times), outlier.MaxRecordedEjections), checkText("reason", e.Reason, 0, recordText))
	}
	return errors.Join(err, r.Operator.check())
}

func checkText(name, text string, least, most int) error {
	if n := len(text); n < least || n > most || !utf8.ValidString(text) {
		return fmt.Errorf("%s must be a string of %d to %d bytes, got %d", name, least, most, n)
	}
	return nil
}

func checkNumber(name string, n, most float64) error {
	if !(n >= 0 && n <= most) {
		return fmt.Errorf("%s must be from 0 to %v, got %v", name, most, n)
	}
	return nil
}

// checkTime refuses years that are implausible, or that time.Time cannot marshal.
func checkTime(name string, t time.Time) error {
	if year := t.UTC().Year(); year < 1970 || year > 2999 {
		return fmt.Errorf("%s must be a time from 1970 to 2999, got year %d", name, year)
	}
	return nil
}
