// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
)

// stateStore keeps the records of backends, also of departed ones, and writes them into the
// storage. There is one in a process, referenced by the configurations with Persist. The
// current configuration provides the backends and the storage. It is safe for concurrent use.
type stateStore struct {
	periodic.Task[*Generation]

	mu          sync.Mutex // guards the fields below; never held during access to the storage
	loaded      bool
	generations int64                       // number of configurations so far
	records     map[backend.StateKey]Record // each as of Seen
	rollouts    []RolloutRecord             // as of the latest save
	fleet       []FleetRecord               // of an earlier process, until Start
	asked       int64                       // number of flush requests
	served      int64                       // number of the last one that was served
	saving      *saving                     // the next save

	// Used only by the one goroutine that loads or saves.
	generation int64  // of the configuration that provides the storage
	stored     []byte // stored content without the time; nil if unknown
	unusable   bool   // the stored content could not be read, and is not in another file yet
	at         time.Time
	failing    bool
	swept      bool
}

type stateStoreKey struct{}

func newStateStore() *stateStore {
	k := &stateStore{records: make(map[backend.StateKey]Record), saving: newSaving()}
	k.Run = func(ctx context.Context, g *Generation) func() {
		upTo, urgent := k.urgent()
		settled := time.Since(g.began) >= quarantine
		if !settled && !urgent {
			return nil
		}
		err := k.save(ctx, g, confirmEvery)
		if ctx.Err() != nil { // the last configuration stops, and saves itself
			return nil
		}
		k.done(upTo, err)
		if settled && err == nil && !k.swept {
			k.swept = true
			g.sweep(ctx)
		}
		return nil
	}
	k.First = func(*Generation) time.Duration { return quarantine }
	k.Interval = func(g *Generation) time.Duration {
		if time.Since(g.began) < quarantine {
			return quarantine
		}
		return saveEvery
	}
	return k
}

// save writes the records if they have changed, or if the last write is at least ago in the
// past.
func (k *stateStore) save(ctx context.Context, g *Generation, ago time.Duration) error {
	now := time.Now()
	pools := g.pools()
	s := Snapshot{Backends: k.merge(now, pools), Rollouts: k.replaceRollouts(pools), Fleet: fleetOf(pools)}
	same, err := s.Encode()       // without the time
	if k.generation != g.number { // its storage may be another
		k.generation, k.stored = g.number, nil
	}
	age := now.Sub(k.at)
	if err == nil && bytes.Equal(same, k.stored) && (len(s.Backends)+len(s.Rollouts)+len(s.Fleet) == 0 || age >= 0 && age < ago) {
		return nil
	}
	s.Saved = now.Truncate(time.Second)
	var key string
	if err == nil {
		key, err = g.write(ctx, &s)
	}
	switch {
	case err == nil:
		k.stored, k.at = same, now
		if k.failing {
			g.logger.Info("saving backend state works again", zap.String("key", key))
		}
	case ctx.Err() != nil: // Caddy stops; Stop tries again
		k.stored = nil
		return err
	default:
		k.stored = nil
		if !k.failing {
			g.logger.Warn("saving backend state failed; retrying", zap.String("key", key), zap.Error(err))
		}
	}
	k.failing = err != nil
	return err
}

// replaceRollouts replaces the records of rollouts by those of the pools, and returns them. Records of groups that
// are not configured any more are dropped.
func (k *stateStore) replaceRollouts(pools []PoolRecords) (all []RolloutRecord) {
	for _, p := range pools {
		all = append(all, p.Rollouts...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rollouts = all
	return all
}

// merge updates the records with those of the pools, and returns these records and those of
// departed backends.
func (k *stateStore) merge(now time.Time, pools []PoolRecords) []Record {
	var current []Record
	for _, p := range pools {
		current = append(current, p.Backends...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.records
	k.records = make(map[backend.StateKey]Record, len(current))
	for i := range current {
		delete(before, current[i].Key())
	}
	current = slices.DeleteFunc(current, func(r Record) bool { return r.Empty() })
	all := slices.Clone(current)
	for _, r := range before {
		if !fresh(now, r.Seen) {
			r.Forget()
		}
		for _, p := range pools {
			p.dropDeparted(&r)
		}
		if !r.Empty() && now.Sub(r.Seen) < OperatorFor {
			all = append(all, r)
		}
	}
	if len(all) > MaxRecords {
		// Current backends first, then the most recent.
		slices.SortStableFunc(all[len(current):], func(a, b Record) int { return b.Seen.Compare(a.Seen) })
		all = all[:MaxRecords]
	}
	for _, r := range all {
		if r.Seen.IsZero() {
			r.Seen = now.Truncate(time.Second)
		}
		k.records[r.Key()] = r
	}
	return all
}
