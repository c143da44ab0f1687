// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/persist"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Persistence configures whether the state of backends outlives the process.
type Persistence struct {
	// Persist saves the state of the backends of all pools in Caddy's storage, so that it
	// survives a restart. Learned state (which backends are up, ejections and their remaining
	// time, what agents have set, latencies) is restored if it is younger than ten minutes.
	// Changes that an operator made at run time are restored whatever their age. The state is
	// written at most every 10s, and when Caddy stops. Each instance of Caddy has a file of its
	// own, named by the id in its data directory, so that instances with one storage, or
	// processes with one data directory, do not overwrite each other's state. An instance that
	// has lost its data directory, such as a container without a volume for it, starts without
	// state. Default: false.
	Persist bool `json:"persist,omitempty"`

	saved *persist.Generation // nil without Persist; set by Provision
}

// openSaved loads the state that an earlier process has saved. It changes no backends, and
// must be called before pools are created.
func (a *App) openSaved() {
	if a.Persist {
		a.saved = persist.Open(a.ctx, a.ctx.Storage(), a.logger, a.records)
	}
}

// restore references the state of a backend. If the process does not have that state yet, it is restored from the
// saved record, together with the statuses of the checks.
func (p *Pool) restore(l *shared.Refs, key backend.StateKey, statuses []*health.Status) {
	r := p.app.saved.Record(p.recordKey(key))
	if r.Empty() {
		return
	}
	shared.LoadOrNew(l, key, func() *backend.State {
		s := backend.NewState()
		r.Restore(s, p.Options().Outliers, p.checkNames(), statuses)
		return s
	})
}

// savedStates yields the saved states that operators have changed, the latest ones first. The process may
// have no state of these backends: a source has not found them yet.
func (p *Pool) savedStates() iter.Seq2[backend.StateKey, *backend.State] {
	return func(yield func(backend.StateKey, *backend.State) bool) {
		for _, r := range p.app.saved.Operated(p.recordPool()) {
			if r.Duplicate > 0 {
				continue
			}
			s := backend.NewState()
			r.Restore(s, nil, nil, nil)
			if !yield(r.Key(), s) {
				return
			}
		}
	}
}

// flush saves the state now, so that the operator's change survives a crash. The error reports
// that it was not saved.
func (p *Pool) flush() error {
	if err := p.app.saved.Flush(); err != nil {
		return fmt.Errorf("%w: %w", membership.ErrNotKept, err)
	}
	return nil
}

// clearOperator drops the operator's saved changes of a removed backend.
func (p *Pool) clearOperator(b *backend.Backend) {
	p.app.saved.ClearOperator(p.recordKey(backend.StateKey{Address: b.Address, Instance: b.Instance}))
}

// restoreOverlay fills a new overlay from the saved state.
func (p *Pool) restoreOverlay(r *overlay) {
	added, removed, addresses := p.app.saved.Overlay(p.recordPool(), p.Name)
	for _, rec := range removed {
		r.removed[rec.Address] = rec.Operator.Removed.Digest
	}
	for _, rec := range addresses {
		r.restoreForAddress(rec.Address, rec.Operator.ForAddress)
	}
	for _, rec := range added {
		a := rec.Operator.Added
		r.sequence++
		next := &addition{Endpoint: a.Endpoint(rec.Address), given: a.Settings, registered: a.Registered, ttl: time.Duration(a.TTL) * time.Millisecond, sequence: r.sequence}
		if next.ttl > 0 { // it could not renew while Caddy was down
			next.until = time.Now().Add(next.ttl)
		}
		_, next.hides = r.removed[rec.Address]
		r.added[rec.Address] = next
	}
}

// records returns the records of the backends of all pools.
func (a *App) records() (all []persist.PoolRecords) {
	pools := a.all()
	slices.SortFunc(pools, func(a, b *Pool) int { return strings.Compare(a.Name, b.Name) })
	taken := make(map[backend.StateKey]bool)
	for _, p := range pools {
		checks := p.checkNames()
		// The records of the fleet come first: an older version of a later state loses, and does no harm.
		one := persist.PoolRecords{Key: p.recordPool(), Name: p.Name, Fleet: p.fleetRecords(), Rollouts: p.rolloutRecords()}
		for _, m := range p.all() {
			key := p.recordKey(m.key)
			taken[key] = true
			one.Backends = append(one.Backends, persist.RecordOf(m.Backend, key, checks))
		}
		all = append(all, one)
	}
	for i, p := range pools {
		all[i].Backends = p.overlayRecords(all[i].Backends, taken)
	}
	return all
}

// fleetRecords returns the records that this instance has made in the fleet, while the store may lack some of them.
func (p *Pool) fleetRecords() []persist.FleetRecord {
	if c := p.overlay.inFleet(); c != nil && c.fleet.Unpushed() {
		return append(c.table.made(false), c.rollouts.made(true)...)
	}
	return nil
}

// overlayRecords adds the additions, the removals and the changes for addresses of the overlay to the
// records of a pool. taken are the keys of the records of all pools: pools without a name may be alike.
func (p *Pool) overlayRecords(records []persist.Record, taken map[backend.StateKey]bool) []persist.Record {
	added, removed := p.overlay.list()
	addresses := p.overlay.addressChanges()
	if len(added)+len(removed)+len(addresses) == 0 {
		return records
	}
	indexes := make(map[string]int, len(records))
	for i := range records {
		indexes[records[i].Address] = i
	}
	operator := func(address string) *persist.OperatorRecord {
		i, ok := indexes[address]
		if !ok {
			key := p.recordKey(backend.StateKey{Address: address})
			for taken[key] {
				key.Duplicate++
			}
			taken[key] = true
			i = len(records)
			indexes[address] = i
			records = append(records, persist.Record{Pool: key.Pool, Address: address, Duplicate: key.Duplicate})
		}
		if records[i].Operator == nil {
			records[i].Operator = new(persist.OperatorRecord)
		}
		return records[i].Operator
	}
	for i, a := range added {
		operator(a.Address).Added = &persist.AdditionRecord{
			Pool: p.Name, Settings: a.Settings, Registered: a.registered, TTL: a.ttl.Milliseconds(), Order: i + 1,
		}
	}
	for address, was := range removed {
		operator(address).Removed = &persist.RemovalRecord{Pool: p.Name, Digest: was}
	}
	for key, c := range addresses {
		if !c.inForce() {
			continue
		}
		_, address := splitKey(key)
		o := operator(address)
		if o.ForAddress == nil {
			o.ForAddress = &persist.AddressRecord{Pool: p.Name}
		}
		recordForAddress(o.ForAddress, c)
	}
	return records
}

// recordPool returns what stands for the pool in the storage: its name or, without one, a digest of
// the checks, which may hold secrets.
func (p *Pool) recordPool() string {
	if p.Unnamed {
		return ":" + digest(p.identity)
	}
	return p.Name
}

// recordKey returns the key of a backend in the storage.
func (p *Pool) recordKey(key backend.StateKey) backend.StateKey {
	key.Pool = p.recordPool()
	return key
}

// checkNames returns the identities of the checks in the storage, without their secrets.
func (p *Pool) checkNames() (names []string) {
	for _, c := range p.checks {
		names = append(names, c.name+":"+digest(c.identity))
	}
	return names
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}
