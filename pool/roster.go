// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// roster is what was changed at run time of who is in a pool. It is leased by the
// pools of this name of all configurations, and outlives each of them. Safe for
// concurrent use.
type roster struct {
	// Worker looks for registrations that were not repeated, and for backends that
	// have left and are empty.
	lease.Periodic[*Pool]

	ops sync.Mutex // held during an operation, so that they come one after the other

	mu      sync.Mutex // guards what follows; never held while anything else is called
	pools   []*Pool    // that have it, whether they run or not
	turns   int64
	added   map[string]*addition           // by address
	removed map[string]string              // addresses, and what the configuration said of them; empty for nothing
	leaving map[backend.StateKey]*departed // of late
}

// addition is a backend that was added at run time. Read-only.
type addition struct {
	backend.Settings
	registered bool // by itself
	ttl        time.Duration
	until      time.Time // zero for ever
	turn       int64     // they are shown in the order in which they came
}

// departed is the state of a backend that has left. It is kept until its requests
// have ended, so that one that comes back meanwhile knows of them, and for a day if
// an operator has asked something of it.
type departed struct {
	leases lease.Refs
	state  *backend.State
	at     time.Time
}

// keeps returns for how long the state is kept, or until when to look again.
func (d *departed) keeps() time.Duration {
	age := time.Since(d.at)
	switch {
	case age < lookForEmpty || d.state.InUse(): // a request may have picked it just before
		return lookForEmpty
	case d.state.Asked():
		return max(0, askedFor-age)
	}
	return 0
}

// rosterKey names a roster. The name alone tells pools with a name apart.
type rosterKey struct{ pool, name string }

const (
	// maxAdded bounds the backends that are added to a pool at run time.
	maxAdded = 10_000
	// lookForEmpty is how often it is looked whether a backend that has left is
	// empty.
	lookForEmpty = time.Second
)

// joinRoster leases the pool's roster, with what was kept of it.
func (p *Pool) joinRoster() {
	key := rosterKey{name: p.Name}
	if p.Unnamed {
		key.pool = p.identity
	}
	p.roster = lease.LoadOrNew(&p.leases, key, func() *roster {
		r := &roster{added: make(map[string]*addition), removed: make(map[string]string), leaving: make(map[backend.StateKey]*departed)}
		r.Run, r.Interval = r.step, func(*Pool) time.Duration { return r.next() }
		r.First = r.Interval
		p.recallRoster(r)
		return r
	})
	r := p.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pools = append(r.pools, p)
}

// quit undoes joinRoster.
func (r *roster) quit(p *Pool) {
	r.mu.Lock()
	r.pools = slices.DeleteFunc(r.pools, func(other *Pool) bool { return other == p })
	left := make(map[backend.StateKey]*departed)
	if len(r.pools) == 0 {
		left, r.leaving = r.leaving, left
	}
	r.mu.Unlock()
	for _, d := range left {
		d.leases.Release()
	}
}

// start begins to look after the roster for a pool that runs.
func (r *roster) start(p *Pool) {
	first := len(r.Users()) == 0
	r.Start(p)
	if first {
		r.settle(p)
	}
}

// stop undoes start. If another configuration has taken over, it was accepted.
func (r *roster) stop(p *Pool) {
	r.Stop(p)
	if users := r.Users(); len(users) > 0 {
		r.settle(users[len(users)-1])
	}
}

// settle drops what the configuration of p, which was accepted, makes void: a
// backend that it names was added no longer, and one of which it says something
// else than when it was removed is there again.
func (r *roster) settle(p *Pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for address, was := range r.removed {
		if says := p.says[address]; says != was && (says != "" || was != "") {
			delete(r.removed, address)
		}
	}
	maps.DeleteFunc(r.added, func(address string, _ *addition) bool {
		was, removed := r.removed[address]
		return p.says[address] != "" && !(removed && was == p.says[address])
	})
}

// forget drops the removals of addresses that nobody names any more.
func (r *roster) forget(p *Pool) {
	if !p.IsCurrent() {
		return
	}
	found := make(map[string]bool)
	for _, s := range p.sources {
		if !s.discovery.hasAnswered() {
			return
		}
		for _, f := range s.discovery.answer() {
			found[f.Address] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.removed, func(address, was string) bool { return was == "" && !found[address] })
}

// list returns the backends that were added, in their order, and those that were
// removed.
func (r *roster) list() (added []*addition, removed map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	added = slices.SortedFunc(maps.Values(r.added), func(a, b *addition) int { return cmp.Compare(a.turn, b.turn) })
	return added, maps.Clone(r.removed)
}

// keep keeps the state of a member that leaves. It must be called before the member
// is released.
func (r *roster) keep(m *member) {
	d := &departed{at: time.Now()}
	d.state = backend.SharedState(&d.leases, m.key)
	r.mu.Lock()
	before := r.leaving[m.key]
	r.leaving[m.key] = d
	r.mu.Unlock()
	if before != nil {
		before.leases.Release()
	}
	r.Wake()
}

// apply has all pools follow the roster.
func (r *roster) apply() {
	for _, p := range r.all() {
		p.merge()
	}
}

func (r *roster) all() []*Pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pools)
}

// step removes the backends that have not registered again, and lets go of those
// that have left and are empty.
func (r *roster) step(_ context.Context, p *Pool) (afterwards func()) {
	r.mu.Lock()
	var empty []*departed
	for key, d := range r.leaving {
		if d.keeps() == 0 {
			empty = append(empty, d)
			delete(r.leaving, key)
		}
	}
	r.mu.Unlock()
	for _, d := range empty {
		d.leases.Release()
	}
	if r.due() > 0 {
		return nil
	}
	return func() { p.expire() }
}

// next returns when there is something to do.
func (r *roster) next() time.Duration {
	rest := max(r.due(), 10*time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.leaving {
		rest = min(rest, max(d.keeps(), 10*time.Millisecond))
	}
	return rest
}

// due returns when the next registration ends.
func (r *roster) due() time.Duration {
	rest := resting
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.added {
		if !a.until.IsZero() {
			rest = min(rest, max(0, time.Until(a.until)))
		}
	}
	return rest
}
