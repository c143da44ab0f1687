// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/persist"
)

// flushTimeout bounds how long an operation of the operator waits for the storage.
const flushTimeout = 2 * time.Second

// flush saves the state now, so that the operator's change survives a crash. The error reports
// that it was not saved.
func (p *Pool) flush() error {
	k := p.app.store
	if k == nil || len(k.Users()) == 0 {
		return nil
	}
	if err := k.flush(); err != nil {
		return fmt.Errorf("%w: %w", membership.ErrNotKept, err)
	}
	return nil
}

// flush requests a save at once, and waits for it.
func (k *stateStore) flush() error {
	k.mu.Lock()
	k.asked++
	mine, s := k.asked, k.saving
	k.mu.Unlock()
	k.Wake()
	timeout := time.NewTimer(flushTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-s.done:
			if s.upTo >= mine {
				return s.err
			}
			s = s.next
		case <-timeout.C:
			return fmt.Errorf("no response from the storage within %v", flushTimeout)
		}
	}
}

// urgent returns the number of the last flush request, and whether any is still to be served.
func (k *stateStore) urgent() (upTo int64, any bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked, k.asked > k.served
}

func newSaving() *saving { return &saving{done: make(chan struct{})} }

// done wakes the callers of flush with the result of a save.
func (k *stateStore) done(upTo int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.saving
	k.served, k.saving = max(k.served, upTo), newSaving()
	s.upTo, s.err, s.next = upTo, err, k.saving
	close(s.done)
}

// clearOperator drops the operator's changes of a removed backend.
func (p *Pool) clearOperator(address string) {
	k := p.app.store
	if k == nil {
		return
	}
	key := p.recordKey(backend.StateKey{Pool: p.Name, Address: address})
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.records[key]; ok {
		r.Operator = nil
		k.records[key] = r
	}
}

// restoreOverlay fills a new overlay from the state store.
func (p *Pool) restoreOverlay(r *overlay) {
	k := p.app.store
	if k == nil {
		return
	}
	pool := p.recordKey(backend.StateKey{Pool: p.Name}).Pool
	k.mu.Lock()
	defer k.mu.Unlock()
	var added []persist.Record
	for _, rec := range k.records {
		o := rec.Operator
		if rec.Pool != pool || o == nil {
			continue
		}
		if o.Added != nil && o.Added.Pool == p.Name {
			added = append(added, rec)
		}
		if was := o.Removed; was != nil && was.Pool == p.Name {
			r.removed[rec.Address] = was.Digest
		}
	}
	slices.SortFunc(added, func(a, b persist.Record) int {
		return cmp.Or(cmp.Compare(a.Operator.Added.Order, b.Operator.Added.Order), cmp.Compare(a.Address, b.Address))
	})
	for _, rec := range added {
		a := rec.Operator.Added
		r.sequence++
		next := &addition{Endpoint: a.Endpoint(rec.Address), registered: a.Registered, ttl: time.Duration(a.TTL) * time.Millisecond, sequence: r.sequence}
		if next.ttl > 0 { // it could not renew while Caddy was down
			next.until = time.Now().Add(next.ttl)
		}
		r.added[rec.Address] = next
	}
}

// overlayRecords adds the additions and removals of the overlay to the records of a pool.
func (p *Pool) overlayRecords(records []persist.Record) []persist.Record {
	added, removed := p.overlay.list()
	if len(added)+len(removed) == 0 {
		return records
	}
	at := make(map[string]int, len(records))
	for i := range records {
		at[records[i].Address] = i
	}
	operator := func(address string) *persist.OperatorRecord {
		i, ok := at[address]
		if !ok {
			key := p.recordKey(backend.StateKey{Pool: p.Name, Address: address})
			i = len(records)
			at[address] = i
			records = append(records, persist.Record{Pool: key.Pool, Address: address})
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
	return records
}

// outdated drops the addition or removal from the record of a backend that is not there, if the
// configuration has its pool: the pool's own overlay would have it.
func (a *App) outdated(r *persist.Record) {
	o := r.Operator
	if o == nil || o.Added == nil && o.Removed == nil {
		return
	}
	for _, p := range a.all() {
		if p.recordKey(backend.StateKey{Pool: p.Name}).Pool != r.Pool {
			continue
		}
		left := *o
		if left.Added != nil && left.Added.Pool == p.Name {
			left.Added = nil
		}
		if left.Removed != nil && left.Removed.Pool == p.Name {
			left.Removed = nil
		}
		o = &left
	}
	if r.Operator = o; *o == (persist.OperatorRecord{}) {
		r.Operator = nil
	}
}
