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
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/persist"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// overlay holds the run-time changes of a pool's membership. All configurations share the overlay of a pool name by
// counted references, so it outlives each of them. Safe for concurrent use.
type overlay struct {
	// Task removes expired registrations, and releases the state of departed backends that have
	// no requests left.
	periodic.Task[*Pool]

	ops sync.Mutex // serializes operations

	observer observer // reports to the other instances of the fleet

	mu       sync.Mutex // guards the fields below; never held during calls to other packages
	replica  *replica   // nil without a fleet
	pools    []*Pool    // all pools with this overlay, running or not
	sequence int64
	added    map[string]*addition               // by address
	removed  map[string]string                  // by address: the digest of the configured settings, empty if not configured
	retired  map[backend.StateKey]*retiredState // state of departed backends
	// forAddress are the changes of operators for addresses, by aspect.key.
	forAddress map[string]addressChange
	// unseen are the removed addresses that were neither configured nor discovered here when they were
	// removed, possibly on another instance.
	unseen map[string]bool
}

// addition is a backend that was added at run time. It is read-only.
type addition struct {
	backend.Endpoint
	given      backend.Settings // without the defaults of the pool
	hides      bool             // a configured backend at the address was removed before
	registered bool             // by the backend itself, with pool_register
	verified   bool             // as in membership.Addition
	ttl        time.Duration
	until      time.Time // zero: no expiry
	sequence   int64     // orders the additions for display
	who        string    // as in [membership.Addition], of the latest addition on this instance
}

// retiredState is the state of a departed backend. It is kept until the requests of the backend have ended, so that they
// still count if the backend returns before. State that an operator has changed is kept for persist.OperatorFor.
type retiredState struct {
	refs  shared.Refs
	state *backend.State
	at    time.Time
}

// keepFor returns for how long to keep the state before checking again; 0 to drop it.
func (d *retiredState) keepFor() time.Duration {
	age := time.Since(d.at)
	switch {
	case age < emptyCheckEvery || d.state.InUse(): // a request may have picked the backend just before
		return emptyCheckEvery
	case d.state.Asked():
		return max(0, persist.OperatorFor-age)
	}
	return 0
}

// overlayKey identifies an overlay: by the name of the pool and, for an unnamed pool, also by its checks.
type overlayKey struct{ pool, name string }

const (
	// maxAdded is the maximum number of backends added to a pool at run time.
	maxAdded = 10_000
	// emptyCheckEvery is the interval of the check whether a departed backend still has requests.
	emptyCheckEvery = time.Second
)

// attachOverlay references the pool's overlay, and restores a new overlay from the state store.
func (p *Pool) attachOverlay() {
	key := overlayKey{name: p.Name}
	if p.Unnamed {
		key.pool = p.identity
	}
	p.overlay = shared.LoadOrNew(&p.refs, key, func() *overlay {
		r := &overlay{
			added: make(map[string]*addition), removed: make(map[string]string), retired: make(map[backend.StateKey]*retiredState),
			unseen: make(map[string]bool), forAddress: make(map[string]addressChange),
		}
		r.Run, r.Interval = r.step, func(*Pool) time.Duration { return r.next() }
		r.First = r.Interval
		r.observer.Run, r.observer.Interval = r.observer.step, r.observer.next
		p.restoreOverlay(r)
		return r
	})
	r := p.overlay
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pools = append(r.pools, p)
}

// detach undoes attachOverlay.
func (r *overlay) detach(p *Pool) {
	r.mu.Lock()
	r.pools = slices.DeleteFunc(r.pools, func(other *Pool) bool { return other == p })
	left := make(map[backend.StateKey]*retiredState)
	if len(r.pools) == 0 {
		left, r.retired = r.retired, left
	}
	r.mu.Unlock()
	for _, d := range left {
		d.refs.Release()
	}
}

// start starts the periodic task of the overlay for a running pool.
func (r *overlay) start(p *Pool) {
	first := len(r.Users()) == 0
	r.Start(p)
	if first {
		p.accept()
	}
	r.useFleet(p)
}

// stop undoes start. If another configuration runs, it was accepted, and becomes the current one.
func (r *overlay) stop(p *Pool) {
	r.Stop(p)
	users := r.Users()
	if len(users) > 0 {
		users[len(users)-1].accept()
		r.useFleet(users[len(users)-1])
	} else {
		r.useFleet(nil)
	}
	r.observer.Stop(p)
}

// adopt applies an accepted configuration to the overlay: it drops additions that are now configured, and removals of
// backends whose configured settings have changed. In a fleet, other instances may not have the configuration, so
// additions stay, and so do removals of backends that are no longer configured.
func (r *overlay) adopt(p *Pool) {
	r.ops.Lock()
	defer r.ops.Unlock()
	r.mu.Lock()
	c, restored := r.replica, []string(nil)
	for address, was := range r.removed {
		switch configured := p.digests[address]; {
		case configured == was, configured == "" && (was == "" || c != nil):
		case r.unseen[address]:
			r.removed[address] = configured
			delete(r.unseen, address)
		default:
			delete(r.removed, address)
			restored = append(restored, address)
		}
	}
	if c == nil {
		r.dropConfigured(p)
	}
	r.mu.Unlock()
	for _, address := range restored {
		c.publish(aspectMember, address, replicatedChange{By: membership.Added}, removedFor)
	}
}

// dropConfigured drops the additions of backends that p now configures. The caller must hold r.mu.
func (r *overlay) dropConfigured(p *Pool) {
	maps.DeleteFunc(r.added, func(address string, _ *addition) bool {
		was, removed := r.removed[address]
		return p.digests[address] != "" && !(removed && was == p.digests[address])
	})
}

// pruneRemoved drops the removals of addresses that are neither configured nor discovered any more.
func (r *overlay) pruneRemoved(p *Pool) {
	if !p.accepted() {
		return
	}
	found := make(map[string]bool)
	for _, s := range p.sources {
		if !s.discovery.hasAnswered() {
			return
		}
		for _, f := range s.discovery.endpoints() {
			found[f.Address] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.unseen, func(address string, _ bool) bool { return found[address] })
	maps.DeleteFunc(r.removed, func(address, was string) bool { return was == "" && !found[address] && !r.unseen[address] })
}

// list returns the added backends in order of addition, and the removed addresses.
func (r *overlay) list() (added []*addition, removed map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	added = slices.SortedFunc(maps.Values(r.added), func(a, b *addition) int {
		return cmp.Or(cmp.Compare(a.sequence, b.sequence), cmp.Compare(a.Address, b.Address))
	})
	return added, maps.Clone(r.removed)
}

// isUnseen reports whether a removed address is in unseen.
func (r *overlay) isUnseen(address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unseen[address]
}

// retire keeps the state of a departing member for a time. It must be called before the member is released.
func (r *overlay) retire(m *member) {
	d := &retiredState{at: time.Now()}
	d.state = backend.SharedState(&d.refs, m.key)
	r.mu.Lock()
	before := r.retired[m.key]
	r.retired[m.key] = d
	r.departed(m.Address)
	r.mu.Unlock()
	if before != nil {
		before.refs.Release()
	}
	r.Wake()
}

// reconcileAll reconciles all pools with the overlay.
func (r *overlay) reconcileAll() {
	for _, p := range r.all() {
		p.reconcile()
	}
}

func (r *overlay) all() []*Pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pools)
}

// step releases the state of departed backends without requests, applies the changes of other instances, and removes
// expired registrations.
func (r *overlay) step(_ context.Context, p *Pool) (afterwards func()) {
	r.mu.Lock()
	var empty []*retiredState
	for key, d := range r.retired {
		if d.keepFor() == 0 {
			empty = append(empty, d)
			delete(r.retired, key)
		}
	}
	r.mu.Unlock()
	for _, d := range empty {
		d.refs.Release()
	}
	return func() {
		p.applyReplicated()
		if r.nextExpiry() == 0 {
			p.expire()
		}
		r.forgetAddresses(p)
		r.sweep()
	}
}

// sweep removes expired records of the fleet, and what depends on them.
func (r *overlay) sweep() {
	c := r.inFleet()
	if c == nil {
		return
	}
	c.rollouts.sweep()
	for key := range c.table.sweep() {
		if a, address := splitKey(key); a == aspectMember {
			r.mu.Lock()
			delete(r.unseen, address)
			r.mu.Unlock()
		}
	}
}

// next returns the time until the next step.
func (r *overlay) next() time.Duration {
	rest := max(r.nextExpiry(), 10*time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.retired {
		rest = min(rest, max(d.keepFor(), 10*time.Millisecond))
	}
	return rest
}

// nextExpiry returns the time until the next registration expires, at most maxIdle.
func (r *overlay) nextExpiry() time.Duration {
	rest := maxIdle
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.added {
		if !a.until.IsZero() {
			rest = min(rest, max(0, time.Until(a.until)))
		}
	}
	return rest
}
