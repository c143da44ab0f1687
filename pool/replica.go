// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// replica replicates the run-time changes of an overlay between the instances of a fleet. The latest change of each
// aspect of a backend wins, by the clock of the fleet. The methods of a nil replica do nothing. Safe for concurrent
// use.
type replica struct {
	fleet    *fleet.Fleet
	table    recordTable
	rollouts rolloutTable
}

const (
	// maxReplicated bounds the records of other instances. It allows for the backends that can be added,
	// and for many more that were removed within removedFor.
	maxReplicated = 20 * maxAdded
	// versionBefore is the version of changes that were made before the pool joined the fleet, such as
	// those restored by persist. Every change in the fleet is later. Changes that were made in the fleet
	// while its store did not work have their own version, also after a restart.
	versionBefore = 1
)

// ofFleet returns the fleet of a pool, or nil. Unnamed pools have none, since their generated names may differ between
// instances.
func (p *Pool) ofFleet() *fleet.Fleet {
	if p == nil || p.Unnamed {
		return nil
	}
	return p.app.Fleet()
}

// useFleet replicates the overlay in the fleet of p, and in no fleet if p is nil.
func (r *overlay) useFleet(p *Pool) {
	r.ops.Lock()
	defer r.ops.Unlock()
	f, old := p.ofFleet(), r.inFleet()
	if old.of() != f {
		r.setReplica(nil)
		old.leave()
		if f != nil {
			c := &replica{fleet: f, table: recordTable{check: checkChange, arrived: r.Wake, most: maxReplicated}}
			c.rollouts.recordTable = recordTable{check: checkRollout, arrived: r.Wake, most: maxRollouts}
			c.table.join(p, "pools", func() { r.keepAll(c, p) })
			c.rollouts.join(p, "rollouts", func() { c.rollouts.resume(p.app.saved.Fleet(p.Name), true) })
			r.setReplica(c)
		}
	}
	if c := r.inFleet(); c != nil {
		r.retry(c)
	}
	r.observer.use(p)
}

// leave ends the replication.
func (c *replica) leave() {
	if c != nil {
		c.table.publisher.Leave()
		c.rollouts.publisher.Leave()
	}
}

// retry makes applyReplicated try again the additions, and the actions on rollouts, that it could not apply with an
// earlier configuration.
func (r *overlay) retry(c *replica) {
	for _, group := range c.rollouts.keys() {
		c.rollouts.touch(group)
	}
	for _, address := range c.addedAddresses() {
		r.mu.Lock()
		lacks := r.added[address] == nil
		r.mu.Unlock()
		if lacks {
			c.table.touch(aspectMember.key(address))
		}
	}
}

// of returns the fleet of the replica; nil for a nil replica.
func (c *replica) of() *fleet.Fleet {
	if c == nil {
		return nil
	}
	return c.fleet
}

// inFleet returns the replica, or nil without a fleet.
func (r *overlay) inFleet() *replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replica
}

func (r *overlay) setReplica(c *replica) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replica = c
}

// keepAll adds the run-time changes from before the pool joined the fleet to the table.
func (r *overlay) keepAll(c *replica, p *Pool) {
	keep := func(a aspect, address string, change replicatedChange, ttl time.Duration) {
		change.Instance = c.fleet.ID()
		if value := change.encode(); len(value) <= fleet.MaxValue {
			c.table.keep(a.key(address), versionBefore, value, ttl)
		}
	}
	c.table.resume(p.app.saved.Fleet(p.Name), false) // first, since keep ignores later changes of the same aspect
	added, removed := r.list()
	for _, a := range added {
		change, ttl := a.replicated()
		keep(aspectMember, a.Address, change, ttl)
	}
	for address, was := range removed {
		keep(aspectMember, address, replicatedChange{By: membership.Added, Hidden: true}, removalTTL(was))
	}
	for key, c := range r.addressChanges() { // first, since keep ignores later changes of the same aspect
		a, address := splitKey(key)
		c.By = membership.Added
		keep(a, address, c.replicatedChange, c.ttl())
	}
	states := make(map[backend.StateKey]*backend.State)
	for _, m := range p.all() {
		states[m.key] = m.State
	}
	r.mu.Lock()
	for key, d := range r.retired {
		if p.Find(key.Address) == nil {
			states[key] = d.state
		}
	}
	r.mu.Unlock()
	keepChanges := func(key backend.StateKey, s *backend.State) {
		for a, change := range replicatedChanges(operatorOf(s)) {
			change.By, change.Of = membership.Added, key.Instance
			keep(a, key.Address, change, change.ttl())
		}
	}
	present := make(map[string]bool)
	for key, s := range states {
		present[key.Address] = true
		keepChanges(key, s)
	}
	for key, s := range p.savedStates() {
		if !present[key.Address] {
			keepChanges(key, s)
		}
	}
}

// operatorOf returns the changes of operators that are in force for a backend.
func operatorOf(s *backend.State) (c membership.Change) {
	if admin := s.AdminState(); admin != health.Ready {
		c.Admin = &admin
	}
	if w := s.OperatorWeight(); w != nil && !w.Relative {
		if n := int(w.Value); backend.Weights.Check("weight", n) == nil {
			c.Weight = &membership.Override{Value: &n}
		}
	}
	if n := s.OperatorMaxRequests(); n != nil {
		c.MaxRequests = &membership.Override{Value: n}
	}
	return c
}

// replicated returns the replicated change that adds a, and its TTL.
func (a *addition) replicated() (c replicatedChange, ttl time.Duration) {
	c.By, c.Who, c.Hidden, ttl = membership.Added, a.who, a.hides, keptFor
	if a.registered {
		c.By = membership.Registered
	}
	if !a.until.IsZero() {
		ttl = time.Until(a.until)
	}
	given := a.given
	if given.Backup {
		given.Tier = 0 // the tier of a backup is derived
	}
	c.Added = &replicatedBackend{Settings: given, Registered: a.registered, TTL: a.ttl.Milliseconds(), Since: a.sequence}
	return c, ttl
}

// removalTTL returns how long a removal is kept. digest is the digest of the configured settings of the backend, or "".
func removalTTL(digest string) time.Duration {
	if digest != "" { // without the removal, new instances would add the configured backend
		return keptFor
	}
	return removedFor
}

// checkSize returns an error for an addition that is too large to be replicated.
func (c *replica) checkSize(a *addition) error {
	if c == nil {
		return nil
	}
	change, _ := a.replicated()
	change.Instance = c.fleet.ID()
	if n := len(change.encode()); n > fleet.MaxValue {
		return fmt.Errorf("the settings take %d bytes, and the fleet shares at most %d; shorten meta", n, fleet.MaxValue)
	}
	return nil
}

// publish publishes a change by this instance. It does nothing if ttl is not above 0.
func (c *replica) publish(a aspect, address string, change replicatedChange, ttl time.Duration) {
	if c == nil || ttl <= 0 {
		return
	}
	change.Instance = c.fleet.ID()
	key := a.key(address)
	c.table.put(key, c.table.version(c.fleet, key), change.encode(), ttl)
}

// publishChange publishes a change of a backend by an operator.
func (c *replica) publishChange(b *backend.Backend, change membership.Change) {
	for a, one := range replicatedChanges(change) {
		one.By, one.Who, one.ForAddress = membership.Added, clip.To(change.Who, membership.MaxWho), change.ForAddress
		if !one.ForAddress {
			one.Of = b.Instance
		}
		c.publish(a, b.Address, one, one.ttl())
	}
}

// publishRemoval publishes the removal of a backend. A removal by an operator also ends the changes of operators to
// the backend, on all instances.
func (c *replica) publishRemoval(b *backend.Backend, removal replicatedChange, ttl time.Duration) {
	c.publish(aspectMember, b.Address, removal, ttl)
	if removal.By == membership.Added {
		for _, a := range operatorAspects {
			c.publish(a, b.Address, replicatedChange{By: removal.By, Of: b.Instance}, removedFor)
		}
	}
}

// expired replaces the expired registration of an address by a removal, so that an older addition cannot return. All
// instances make the same record. It returns false if another instance has renewed the registration.
func (c *replica) expired(address string) bool {
	if c == nil {
		return true
	}
	key := aspectMember.key(address)
	r, living := c.table.get(key)
	recorded, _ := decodeChange(key, r.value) // it was checked
	switch {
	case living && recorded.Added != nil:
		return false
	case recorded.Added != nil && recorded.Hidden:
		c.table.put(key, r.version+1, (&replicatedChange{Hidden: true}).encode(), keptFor)
	case recorded.Added != nil:
		c.table.put(key, r.version+1, nil, removedFor)
	}
	return true
}

// change returns the replicated change of an aspect of an address, unless it has expired.
func (c *replica) change(a aspect, address string) (change replicatedChange, r tableRecord, ok bool) {
	if c == nil {
		return change, r, false
	}
	if r, ok = c.table.get(a.key(address)); ok {
		change, _ = decodeChange(a.key(address), r.value) // it was checked
	}
	return change, r, ok
}

// changeOf is change for one of operatorAspects, if the change applies to this backend.
func (c *replica) changeOf(a aspect, b *backend.Backend) (change replicatedChange, r tableRecord, ok bool) {
	if change, r, ok = c.change(a, b.Address); ok && !change.isOf(b) {
		return replicatedChange{}, tableRecord{}, false
	}
	return change, r, ok
}

// addedAddresses returns the addresses of the backends that were added on any instance.
func (c *replica) addedAddresses() (all []string) {
	for _, key := range c.table.keys() {
		if a, address := splitKey(key); a == aspectMember {
			if recorded, _, ok := c.change(a, address); ok && recorded.Added != nil {
				all = append(all, address)
			}
		}
	}
	return all
}

// restoreOperator applies the changes of operators on any instance to a backend that joins the pool.
func (c *replica) restoreOperator(b *backend.Backend) {
	if c == nil {
		return
	}
	for _, a := range operatorAspects {
		for {
			recorded, r, ok := c.changeOf(a, b)
			if !ok {
				break
			}
			change(b, recorded.operatorChange(a))
			if _, again, _ := c.changeOf(a, b); again.version == r.version { // else it has changed meanwhile
				break
			}
		}
	}
}
