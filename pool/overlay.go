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
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// overlay is what was changed at run time of who is in a pool. It is leased by the
// pools of this name of all configurations, and outlives each of them. Safe for
// concurrent use.
type overlay struct {
	// Worker looks for registrations that were not repeated, and for backends that
	// have left and are empty.
	periodic.Task[*Pool]

	ops sync.Mutex // held during an operation, so that they come one after the other

	mu       sync.Mutex // guards what follows; never held while anything else is called
	pools    []*Pool    // that have it, whether they run or not
	sequence int64
	added    map[string]*addition               // by address
	removed  map[string]string                  // addresses, and what the configuration said of them; empty for nothing
	retired  map[backend.StateKey]*retiredState // of late
}

// addition is a backend that was added at run time. Read-only.
type addition struct {
	backend.Settings
	registered bool // by itself
	ttl        time.Duration
	until      time.Time // zero for ever
	sequence   int64     // they are shown in the order in which they came
}

// retiredState is the state of a backend that has left. It is kept until its requests
// have ended, so that one that comes back meanwhile knows of them, and for a day if
// an operator has asked something of it.
type retiredState struct {
	refs  shared.Refs
	state *backend.State
	at    time.Time
}

// keepFor returns for how long the state is kept, or until when to look again.
func (d *retiredState) keepFor() time.Duration {
	age := time.Since(d.at)
	switch {
	case age < emptyCheckEvery || d.state.InUse(): // a request may have picked it just before
		return emptyCheckEvery
	case d.state.Asked():
		return max(0, keepOperatorFor-age)
	}
	return 0
}

// overlayKey names a roster. The name alone tells pools with a name apart.
type overlayKey struct{ pool, name string }

const (
	// maxAdded bounds the backends that are added to a pool at run time.
	maxAdded = 10_000
	// emptyCheckEvery is how often it is looked whether a backend that has left is
	// empty.
	emptyCheckEvery = time.Second
)

// attachOverlay leases the pool's roster, with what was kept of it.
func (p *Pool) attachOverlay() {
	key := overlayKey{name: p.Name}
	if p.Unnamed {
		key.pool = p.identity
	}
	p.overlay = shared.LoadOrNew(&p.refs, key, func() *overlay {
		r := &overlay{added: make(map[string]*addition), removed: make(map[string]string), retired: make(map[backend.StateKey]*retiredState)}
		r.Run, r.Interval = r.step, func(*Pool) time.Duration { return r.next() }
		r.First = r.Interval
		p.restoreOverlay(r)
		return r
	})
	r := p.overlay
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pools = append(r.pools, p)
}

// detach undoes joinRoster.
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

// start begins to look after the roster for a pool that runs.
func (r *overlay) start(p *Pool) {
	first := len(r.Users()) == 0
	r.Start(p)
	if first {
		r.adopt(p)
	}
}

// stop undoes start. If another configuration has taken over, it was accepted.
func (r *overlay) stop(p *Pool) {
	r.Stop(p)
	if users := r.Users(); len(users) > 0 {
		r.adopt(users[len(users)-1])
	}
}

// adopt drops what the configuration of p, which was accepted, makes void: a
// backend that it names was added no longer, and one of which it says something
// else than when it was removed is there again.
func (r *overlay) adopt(p *Pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for address, was := range r.removed {
		if says := p.digests[address]; says != was && (says != "" || was != "") {
			delete(r.removed, address)
		}
	}
	maps.DeleteFunc(r.added, func(address string, _ *addition) bool {
		was, removed := r.removed[address]
		return p.digests[address] != "" && !(removed && was == p.digests[address])
	})
}

// pruneRemoved drops the removals of addresses that nobody names any more.
func (r *overlay) pruneRemoved(p *Pool) {
	if !p.IsCurrent() {
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
	maps.DeleteFunc(r.removed, func(address, was string) bool { return was == "" && !found[address] })
}

// list returns the backends that were added, in their order, and those that were
// removed.
func (r *overlay) list() (added []*addition, removed map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	added = slices.SortedFunc(maps.Values(r.added), func(a, b *addition) int { return cmp.Compare(a.sequence, b.sequence) })
	return added, maps.Clone(r.removed)
}

// retire keeps the state of a member that leaves. It must be called before the member
// is released.
func (r *overlay) retire(m *member) {
	d := &retiredState{at: time.Now()}
	d.state = backend.SharedState(&d.refs, m.key)
	r.mu.Lock()
	before := r.retired[m.key]
	r.retired[m.key] = d
	r.mu.Unlock()
	if before != nil {
		before.refs.Release()
	}
	r.Wake()
}

// reconcileAll has all pools follow the roster.
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

// step removes the backends that have not registered again, and lets go of those
// that have left and are empty.
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
	if r.nextExpiry() > 0 {
		return nil
	}
	return func() { p.expire() }
}

// next returns when there is something to do.
func (r *overlay) next() time.Duration {
	rest := max(r.nextExpiry(), 10*time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.retired {
		rest = min(rest, max(d.keepFor(), 10*time.Millisecond))
	}
	return rest
}

// nextExpiry returns when the next registration ends.
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
