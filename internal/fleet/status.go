// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"time"
)

// StatusReport is the state of a fleet as this instance sees it.
type StatusReport struct {
	// ID is the id of this instance.
	ID string `json:"id"`
	// Name is the name of this instance, with which the id begins.
	Name string `json:"name"`
	// Zone is the zone of this instance; empty for none.
	Zone string `json:"zone,omitempty"`
	// Heartbeat is the effective interval of beats.
	Heartbeat time.Duration `json:"-"`
	// Store is the state of the store.
	Store StoreReport `json:"store"`
	// Pending is the number of changes that are waiting to be pushed.
	Pending int `json:"pending"`
	// Lag is the age of the oldest pending change; 0 for none.
	Lag time.Duration `json:"-"`
	// Stale is the time since changes were last read; 0 unless it is longer than a call of Changes
	// waits.
	Stale time.Duration `json:"-"`
	// Backfill reports that the instance is pushing records that the store lacked at the latest resync.
	Backfill bool `json:"backfill"`
	// Synced reports that the instance has read all records of the store, or has waited for them for the
	// configured time.
	Synced bool `json:"synced"`
	// Resyncs counts the completed resyncs, by cause.
	Resyncs map[string]uint64 `json:"resyncs"`
	// Pushed counts the records that were pushed.
	Pushed uint64 `json:"pushed"`
	// Received counts the records that the store has sent.
	Received uint64 `json:"received"`
	// Overflows counts how often too many changes were pending.
	Overflows uint64 `json:"overflows"`
	// Invalid counts records of this instance that exceeded the bounds of a [Record].
	Invalid uint64 `json:"invalid"`
	// Generation is the generation of the instances.
	Generation uint64 `json:"generation"`
	// Alone reports that the store has not been reached yet.
	Alone bool `json:"alone"`
	// Settled reports that the shares of this instance are final: none waits for shares of other
	// instances to shrink.
	Settled bool `json:"settled"`
	// Instances are the living instances, by id.
	Instances []Instance `json:"instances"`
}

// StoreReport is the state of the store of a fleet.
type StoreReport struct {
	// Connected reports that the latest call of each kind has succeeded.
	Connected bool `json:"connected"`
	// Error is the latest error while calls fail; empty otherwise.
	Error string `json:"error,omitempty"`
	// Since is the time of the first failure while calls fail; nil otherwise.
	Since *time.Time `json:"since,omitempty"`
}

// Status returns the state of the fleet. It does not block.
func (f *Fleet) Status() StatusReport {
	if f == nil {
		return StatusReport{}
	}
	u, i := f.user(), f.Instances()
	s := StatusReport{
		ID: f.id, Name: f.name, Zone: u.Zone, Resyncs: f.resyncs.total(),
		Generation: i.Generation, Alone: i.Alone, Settled: i.Settled(), Instances: i.All,
	}
	now := time.Now()
	queue := f.pending.Backlog()
	s.Pending, s.Overflows = queue.Changes, queue.Overflows
	if !queue.Oldest.IsZero() {
		s.Lag = now.Sub(queue.Oldest)
	}
	s.Pushed, s.Received, s.Invalid = f.pushed.Load(), f.received.Load(), f.invalid.Load()
	select {
	case <-f.synced:
		s.Synced = true
	default:
	}
	r := f.current()
	if r == nil {
		return s
	}
	s.Instances = acknowledging(s.Instances, f.id, s.Generation, r.acknowledged.Load())
	s.Heartbeat = u.heartbeat()
	var err error
	var since time.Time
	s.Store.Connected, since, err = r.reach.Status()
	if err != nil {
		s.Store.Error, s.Store.Since = err.Error(), &since
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Backfill = r.backfill != nil
	if stale := now.Sub(r.streaming); !r.streaming.IsZero() && stale > changesWait+callTimeout/2 {
		s.Stale = stale
	}
	return s
}

// Unpushed reports whether the store may lack records of this instance.
func (f *Fleet) Unpushed() bool {
	r := f.current()
	if r == nil {
		return true
	}
	connected, _, _ := r.reach.Status()
	due, _ := r.resyncs.next()
	return !connected || due != "" || f.pending.Backlog().Changes > 0 || r.currentBackfill() != nil
}

// acknowledging returns the instances with the generations that they have acknowledged by now. The
// store lists instances only after a change of the generation, before any has acknowledged the new
// one. lowest is the lowest generation that an instance has acknowledged according to the latest
// beat.
func acknowledging(all []Instance, self string, generation, lowest uint64) []Instance {
	all = slices.Clone(all)
	for i := range all {
		if all[i].ID == self || lowest >= generation {
			all[i].Acknowledged = generation
		}
	}
	return all
}
