// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/persist"
)

// addressChange is a change of one aspect by an operator that applies to every instance of a backend at an address.
// Read-only.
type addressChange struct {
	replicatedChange           // only the value and ForAddress are set
	at               time.Time // of the change, or of the latest departure of a backend from the address, if later
}

// inForce reports whether a change overrides the configured value.
func (c *replicatedChange) inForce() bool { return c.ttl() == keptFor }

// keepForAddress records a change of the backend at an address: it keeps a change for the address, and drops an
// earlier one if the change is for the instance. It reports whether the changes for the address have changed.
func (r *overlay) keepForAddress(address string, c membership.Change) (differs bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if most := len(operatorAspects) * maxAdded; c.ForAddress && len(r.forAddress) >= most {
		return false, fmt.Errorf("the pool has %d changes for addresses, which is the limit; make some of them for the instance", most)
	}
	for a, one := range replicatedChanges(c) {
		key := a.key(address)
		was := r.forAddress[key]
		one.ForAddress = c.ForAddress
		if c.ForAddress {
			r.forAddress[key] = addressChange{one, time.Now()}
		} else {
			delete(r.forAddress, key)
		}
		if was.inForce() || c.ForAddress && one.inForce() {
			differs = differs || !reflect.DeepEqual(was.replicatedChange, one)
		}
	}
	return differs, nil
}

// apply applies a change of a backend in all configurations, and describes the changes of b. A change for the address
// is also applied to an instance that has just replaced b. A member that is created meanwhile either applies the
// change itself, or is found here, since p.mu guards both. The caller must hold r.ops, and publish the pools.
func (r *overlay) apply(b *backend.Backend, c membership.Change) (changes string) {
	changes = change(b, c)
	for _, p := range r.all() {
		if m := p.memberAt(b.Address); m != nil && (c.ForAddress || m.State == b.State) {
			change(m.Backend, c)
		}
	}
	return changes
}

// memberAt returns the member at an address, or nil.
func (p *Pool) memberAt(address string) *member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current[address]
}

// restoreOperator applies earlier changes of operators to a backend that joins the pool: those for its address and, in a
// fleet, those of it on any instance. The caller must hold the lock of the pool.
func (r *overlay) restoreOperator(b *backend.Backend) {
	if c := r.inFleet(); c != nil {
		c.restoreOperator(b)
		return
	}
	for _, a := range operatorAspects {
		r.mu.Lock()
		kept, ok := r.forAddress[a.key(b.Address)]
		r.mu.Unlock()
		if ok {
			change(b, kept.operatorChange(a))
		}
	}
}

// departed records the time at which a backend has left an address. The caller must hold r.mu.
func (r *overlay) departed(address string) {
	for _, a := range operatorAspects {
		if c, ok := r.forAddress[a.key(address)]; ok {
			c.at = time.Now()
			r.forAddress[a.key(address)] = c
		}
	}
}

// clearAddress drops the changes for an address.
func (r *overlay) clearAddress(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range operatorAspects {
		delete(r.forAddress, a.key(address))
	}
}

// forgetAddresses drops the changes for addresses that have had no backend for persist.OperatorFor. A fleet keeps all
// changes.
func (r *overlay) forgetAddresses(p *Pool) {
	if r.inFleet() != nil {
		return
	}
	for key, c := range r.addressChanges() {
		_, address := splitKey(key)
		if time.Since(c.at) < persist.OperatorFor || p.memberAt(address) != nil {
			continue
		}
		r.mu.Lock()
		if r.forAddress[key] == c { // otherwise a backend has departed just now
			delete(r.forAddress, key)
		}
		r.mu.Unlock()
	}
}

// addressChanges returns a copy of the changes for addresses, by aspect.key.
func (r *overlay) addressChanges() map[string]addressChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.forAddress)
}

// ForAddress implements [membership.Manager].
func (p *Pool) ForAddress(address string) (fields []string) {
	p.overlay.mu.Lock()
	defer p.overlay.mu.Unlock()
	for i, a := range operatorAspects {
		if c := p.overlay.forAddress[a.key(address)]; c.inForce() {
			fields = append(fields, [len(operatorAspects)]string{"state", "weight", "max_requests"}[i])
		}
	}
	return fields
}

// recordForAddress adds a change for an address to the record of the address.
func recordForAddress(r *persist.AddressRecord, c addressChange) {
	switch {
	case c.State != "":
		r.Admin = c.State
	case c.Weight != nil:
		r.Weight = c.Weight
	default:
		r.MaxRequests = c.MaxRequests
	}
}

// restoreForAddress restores the changes for an address from its record.
func (r *overlay) restoreForAddress(address string, rec *persist.AddressRecord) {
	admin, _ := health.ParseAdmin(rec.Admin) // checked
	c := membership.Change{Admin: &admin, Weight: &membership.Override{Value: rec.Weight}, MaxRequests: &membership.Override{Value: rec.MaxRequests}}
	for a, one := range replicatedChanges(c) {
		if one.ForAddress = true; one.inForce() {
			r.forAddress[a.key(address)] = addressChange{one, time.Now()}
		}
	}
}
