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
}

// AdditionRecord is a backend that was added at run time.
type AdditionRecord struct {
	// Pool is the name of the pool, in at most 512 bytes. It is the name even if Record.Pool is a
	// substitute for it.
	Pool        string            `json:"pool"`
	ID          string            `json:"id"`                     // as in [backend.Settings], at most 512 bytes
	Weight      int               `json:"weight"`                 // likewise, up to 1,000,000
	Tier        int               `json:"tier,omitempty"`         // likewise
	Backup      bool              `json:"backup,omitempty"`       // likewise
	MaxRequests int               `json:"max_requests,omitempty"` // likewise, up to 2147483647
	Meta        map[string]string `json:"meta,omitempty"`         // likewise, at most 100 of at most 512 bytes each
	Registered  bool              `json:"registered,omitempty"`   // as in [membership.Addition]
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

// Settings returns the settings of the backend.
func (a *AdditionRecord) Settings(address string) backend.Settings {
	return backend.Settings{Address: address, ID: a.ID, Weight: a.Weight, Tier: a.Tier, Backup: a.Backup, MaxRequests: a.MaxRequests, Meta: a.Meta}
}

// RecordAddition returns the settings of a backend as a record of an addition to the pool.
func RecordAddition(s *backend.Settings, pool string) *AdditionRecord {
	return &AdditionRecord{Pool: pool, ID: s.ID, Weight: s.Weight, Tier: s.Tier, Backup: s.Backup, MaxRequests: s.MaxRequests, Meta: s.Meta}
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
			checkText("pool", a.Pool, 1, recordText), checkText("id", a.ID, 1, recordText),
			checkNumber("weight", float64(a.Weight), recordNumber), checkNumber("tier", float64(a.Tier), recordNumber),
			checkNumber("max_requests", float64(a.MaxRequests), health.MaxRecordedRequests),
			checkNumber("order", float64(a.Order), recordNumber),
			checkNumber("ttl", float64(a.TTL), float64(recordTTL.Milliseconds())),
			checkNumber("the number of meta", float64(len(a.Meta)), recordChecks))
		for key, value := range a.Meta {
			err = errors.Join(err, checkText("meta", key, 0, recordText), checkText("meta", value, 0, recordText))
		}
	}
	if r := o.Removed; r != nil {
		err = errors.Join(err, checkText("pool", r.Pool, 1, recordText), checkText("was", r.Digest, 0, recordCheckText))
	}
	return err
}
