// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

// FleetRecord is a change that this instance has made in a fleet, and that the fleet may not have: the store did not work.
type FleetRecord struct {
	// Pool is the name of the pool, in at most 512 bytes.
	Pool string `json:"pool"`
	// Rollout is set for actions on rollouts; the others are changes of backends.
	Rollout bool   `json:"rollout,omitempty"`
	Key     string `json:"key"`             // as in [record.Record]
	Version uint64 `json:"version"`         // likewise
	Value   string `json:"value,omitempty"` // likewise
	// Until is when the record expires.
	Until time.Time `json:"until"`
}

// maxFleet limits the number of records of a fleet in a snapshot. The latest ones are kept.
const maxFleet = 10_000

// check returns an error for each value that is out of bounds.
func (r *FleetRecord) check() error {
	return errors.Join(
		checkText("pool", r.Pool, 1, recordText), checkText("key", r.Key, 1, record.MaxName), checkText("value", r.Value, 0, record.MaxValue),
		checkTime("until", r.Until))
}

// encodedFleet returns the records for a snapshot: the valid ones, at most maxFleet of them.
func encodedFleet(records []FleetRecord) (all []FleetRecord) {
	for _, r := range records {
		if r.Until = r.Until.UTC().Truncate(time.Millisecond); r.check() == nil {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b FleetRecord) int { return cmp.Compare(b.Version, a.Version) })
	all = all[:min(len(all), maxFleet)]
	slices.SortFunc(all, func(a, b FleetRecord) int { return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Key, b.Key)) })
	return all
}

// fleetOf returns the records of the fleet of pools.
func fleetOf(pools []PoolRecords) (all []FleetRecord) {
	for _, p := range pools {
		for _, r := range p.Fleet {
			r.Pool = p.Name
			all = append(all, r)
		}
	}
	return all
}

// Fleet returns the records of the fleet of a pool that an earlier process has saved. There are none after the first
// Start, since the process may have changed since what they describe.
func (g *Generation) Fleet(pool string) (all []FleetRecord) {
	if g == nil {
		return nil
	}
	k := g.store
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.fleet {
		if r.Pool == pool {
			all = append(all, r)
		}
	}
	return all
}
