// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"errors"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// OperatorRecord holds an operator's changes of a backend.
type OperatorRecord struct {
	// Admin is the administrative state, empty for ready.
	Admin string `json:"admin,omitempty"`
	// Weight is as in [backend.Operator.OperatorWeight], up to 1,000,000.
	Weight *health.AgentWeight `json:"weight,omitempty"`
	// MaxRequests is as in [backend.MaxRequestsOverride.OperatorMaxRequests], up to 2147483647.
	MaxRequests *int `json:"max_requests,omitempty"`
	// Added is nil unless the backend was added at run time.
	Added *AdditionRecord `json:"added,omitempty"`
	// Removed is nil unless the backend was removed at run time.
	Removed *RemovalRecord `json:"removed,omitempty"`
	// ForAddress is nil unless something was changed for the address, whatever instance is there.
	ForAddress *AddressRecord `json:"for_address,omitempty"`
}

// AddressRecord holds an operator's changes for an address.
type AddressRecord struct {
	Pool        string `json:"pool"`                   // as in [AdditionRecord]
	Admin       string `json:"admin,omitempty"`        // as in [OperatorRecord]
	Weight      *int   `json:"weight,omitempty"`       // 0 to 65535, nil for the configured one
	MaxRequests *int   `json:"max_requests,omitempty"` // 0 to 2147483647, likewise
}

// AdditionRecord is a backend that was added at run time.
type AdditionRecord struct {
	// Pool is the name of the pool, in at most 512 bytes. It is the name even if Record.Pool is a
	// substitute for it.
	Pool string `json:"pool"`
	// The settings have the same bounds as those of an addition at run time.
	backend.Settings
	Registered bool `json:"registered,omitempty"` // as in [membership.Addition]
	// TTL is as in [membership.Addition], in milliseconds, up to a hundred years.
	TTL int64 `json:"ttl,omitempty"`
	// Order is the position among the backends added to the pool, up to 1,000,000; 0 in records
	// of older builds.
	Order int `json:"order,omitempty"`
}

// RemovalRecord is a backend that was removed at run time.
type RemovalRecord struct {
	// Pool is as in [AdditionRecord].
	Pool string `json:"pool"`
	// Digest identifies the configured settings at the time of the removal, in at most 128 bytes;
	// empty if the backend was not configured.
	Digest string `json:"was,omitempty"`
}

const recordTTL = 100 * 365 * 24 * time.Hour

// Endpoint returns the backend at an address.
func (a *AdditionRecord) Endpoint(address string) backend.Endpoint {
	s := a.Settings
	if s.Weight == nil {
		s.Weight = new(1)
	}
	if s.MaxRequests == nil { // older builds omit 0
		s.MaxRequests = new(0)
	}
	return backend.Endpoint{Address: address, Settings: s}
}

// check returns an error for each value that is out of bounds.
func (o *OperatorRecord) check() error {
	if o == nil {
		return nil
	}
	err := errors.Join(o.Weight.Check(), health.CheckAdmin(o.Admin))
	if n := o.MaxRequests; n != nil {
		err = errors.Join(err, checkNumber("max_requests", float64(*n), health.MaxRecordedRequests))
	}
	if a := o.Added; a != nil {
		err = errors.Join(err,
			checkText("pool", a.Pool, 1, recordText), checkText("id", a.ID, 1, recordText), a.check(),
			checkNumber("order", float64(a.Order), recordNumber),
			checkNumber("ttl", float64(a.TTL), float64(recordTTL.Milliseconds())))
	}
	if r := o.Removed; r != nil {
		err = errors.Join(err, checkText("pool", r.Pool, 1, recordText), checkText("was", r.Digest, 0, recordCheckText))
	}
	if a := o.ForAddress; a != nil {
		err = errors.Join(err, checkText("pool", a.Pool, 1, recordText), health.CheckAdmin(a.Admin))
		if a.Weight != nil {
			err = errors.Join(err, backend.Weights.Check("weight", *a.Weight))
		}
		if a.MaxRequests != nil {
			err = errors.Join(err, backend.Limits.Check("max_requests", *a.MaxRequests))
		}
	}
	return err
}

// check returns an error for settings that the pool would not have accepted.
func (a *AdditionRecord) check() error {
	s := a.Settings
	if s.Backup {
		s.Tier = 0 // it is recorded with the tier that is shown
	}
	return errors.Join(s.Check(), s.CheckSize())
}

// dropDeparted drops the addition to the pool, the removal from it, and what is for the address, from
// the record of a backend that is not there: the pool's own overlay would have it.
func (p *PoolRecords) dropDeparted(r *Record) {
	if r.Operator == nil || r.Pool != p.Key {
		return
	}
	left := *r.Operator
	if left.Added != nil && left.Added.Pool == p.Name {
		left.Added = nil
	}
	if left.Removed != nil && left.Removed.Pool == p.Name {
		left.Removed = nil
	}
	if left.ForAddress != nil && left.ForAddress.Pool == p.Name {
		left.ForAddress = nil
	}
	if r.Operator = &left; left == (OperatorRecord{}) {
		r.Operator = nil
	}
}
