// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

const (
	// saveEvery is the interval of the check whether there is new state to save.
	saveEvery = 10 * time.Second
	// quarantine is the time during which a new configuration saves nothing unless an operator
	// changes something, since the configuration may still be rejected.
	quarantine = 2 * time.Second
	// learnedFor is how long learned state is valid.
	learnedFor = 10 * time.Minute
	// OperatorFor is how long the operator's changes of a departed backend are kept.
	OperatorFor = 24 * time.Hour
	// confirmEvery is the interval after which unchanged state is saved again, so that it is
	// still valid if the process dies without a final save.
	confirmEvery = learnedFor / 2
)

// PoolRecords are the records of the backends of one pool.
type PoolRecords struct {
	// Key is the pool of the records, Name its name: pools without a name may have equal keys.
	Key, Name string
	// Backends are the records of the current backends, and of those that an operator has
	// removed.
	Backends []Record
	// Rollouts are the records of the rollouts of groups.
	Rollouts []RolloutRecord
	// Fleet are the changes that the fleet may not have. Their Pool is set when they are saved.
	Fleet []FleetRecord
}

// Generation is the use of the saved state by one configuration. The methods of a nil
// Generation do nothing. It is safe for concurrent use.
type Generation struct {
	storage certmagic.Storage
	logger  *zap.Logger
	pools   func() []PoolRecords

	store  *stateStore
	refs   shared.Refs // to the store
	number int64       // of this configuration in the process
	began  time.Time   // set by Start
}

// Open returns the generation of a new configuration. The first of a process loads the state
// that an earlier process has saved, or begins without it if it is unusable. pools returns the
// records of all pools of the configuration. It is called between Start and the end of Stop,
// without a lock.
func Open(ctx context.Context, storage certmagic.Storage, logger *zap.Logger, pools func() []PoolRecords) *Generation {
	g := &Generation{storage: storage, logger: logger, pools: pools}
	k := shared.LoadOrNew(&g.refs, stateStoreKey{}, newStateStore)
	g.store = k
	k.mu.Lock()
	loaded := k.loaded
	k.loaded = true
	k.generations++
	g.number = k.generations
	k.mu.Unlock()
	if !loaded { // else the state in memory is newer
		g.load(ctx)
	}
	return g
}

// load loads the state of an earlier process into the store.
func (g *Generation) load(ctx context.Context) {
	k := g.store
	nothing := new(Snapshot)
	k.generation = g.number
	k.stored, _ = nothing.Encode()
	key, s, err := g.read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		k.stored, k.unusable = nil, true
		g.logger.Warn("saved backend state is unusable; starting without it", zap.String("key", key), zap.Error(err))
		return
	}
	k.at = s.Saved
	k.stored, _ = (&Snapshot{Backends: s.Backends, Rollouts: s.Rollouts, Fleet: s.Fleet}).Encode()
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rollouts, k.fleet = s.Rollouts, s.Fleet
	for _, r := range s.Backends {
		was := r.Seen
		if was.IsZero() {
			was = s.Saved
		}
		if !fresh(now, was) {
			r.Forget()
			if r.Seen.IsZero() || was.After(now) {
				// The operator's changes of a backend that was in its pool are valid whatever
				// their age, and are kept for another OperatorFor.
				was = now.Truncate(time.Second)
			}
		}
		if r.Seen = was; !r.Empty() && now.Sub(was) < OperatorFor {
			k.records[r.Key()] = r
		}
	}
}

// fresh reports whether learned state is still valid. A timestamp more than a minute in the
// future is not trusted, since the clock may have been set back.
func fresh(now, at time.Time) bool {
	age := now.Sub(at)
	return age > -time.Minute && age < learnedFor
}

// Record returns the saved record of a backend of which the process has no state, without parts that are no longer
// valid.
func (g *Generation) Record(key backend.StateKey) Record {
	if g == nil {
		return Record{}
	}
	k := g.store
	k.mu.Lock()
	r := k.records[key]
	k.mu.Unlock()
	if !fresh(time.Now(), r.Seen) {
		r.Forget()
	}
	return r
}

// Overlay returns the saved overlay of a pool: the backends that were added at run time, in order of addition,
// those that were removed, and those whose addresses have changes. The strings are as in [PoolRecords].
func (g *Generation) Overlay(key, name string) (added, removed, addresses []Record) {
	if g == nil {
		return nil, nil, nil
	}
	k := g.store
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.records {
		o := r.Operator
		if r.Pool != key || o == nil {
			continue
		}
		if o.Added != nil && o.Added.Pool == name {
			added = append(added, r)
		}
		if o.Removed != nil && o.Removed.Pool == name {
			removed = append(removed, r)
		}
		if o.ForAddress != nil && o.ForAddress.Pool == name {
			addresses = append(addresses, r)
		}
	}
	slices.SortFunc(added, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Operator.Added.Order, b.Operator.Added.Order), cmp.Compare(a.Address, b.Address))
	})
	return added, removed, addresses
}

// Operated returns the records of a pool with changes of a backend by an operator, the latest ones first.
// The key is as in [PoolRecords].
func (g *Generation) Operated(key string) (all []Record) {
	if g == nil {
		return nil
	}
	k := g.store
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.records {
		if o := r.Operator; r.Pool == key && o != nil && (o.Admin != "" || o.Weight != nil || o.MaxRequests != nil) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Record) int { return b.Seen.Compare(a.Seen) })
	return all
}

// ClearOperator drops the operator's changes of a removed backend.
func (g *Generation) ClearOperator(key backend.StateKey) {
	if g == nil {
		return
	}
	k := g.store
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.records[key]; ok {
		r.Operator = nil
		k.records[key] = r
	}
}

// Start begins to save periodically.
func (g *Generation) Start() {
	if g == nil {
		return
	}
	g.began = time.Now()
	g.store.mu.Lock()
	g.store.fleet = nil
	g.store.mu.Unlock()
	g.store.Start(g)
}

// Flush saves at once, and waits until that is done, for at most 2s. It does nothing before
// the first Start.
func (g *Generation) Flush() error {
	if g == nil || len(g.store.Users()) == 0 {
		return nil
	}
	return g.store.flush()
}

// Stop ends what Start began, and saves for the last time, unless another configuration
// continues.
func (g *Generation) Stop() {
	if g == nil {
		return
	}
	k := g.store
	last := slices.Equal(k.Users(), []*Generation{g})
	k.Stop(g)
	if !last {
		return
	}
	if upTo, urgent := k.urgent(); urgent || time.Since(g.began) >= quarantine {
		k.done(upTo, k.save(context.Background(), g, 0))
	}
}

// Close releases the state. It may be called without Start and Stop.
func (g *Generation) Close() {
	if g != nil {
		g.refs.Release()
	}
}
