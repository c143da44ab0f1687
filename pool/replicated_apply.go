// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// awaitFleet waits until the pool has the run-time changes of the fleet, for at most `wait`.
func (p *Pool) awaitFleet(ctx context.Context) {
	f := p.app.FleetConfig
	f.Await(ctx)
	select {
	case <-f.Fleet().Synced():
		p.caughtUp.Do(p.applyReplicated)
	default:
	}
}

// applyReplicated applies the changes that other instances of the fleet have made since its last call. Only the latest
// change of each aspect of a backend counts, so the order in which they arrive does not matter.
func (p *Pool) applyReplicated() {
	p = p.acting()
	r := p.overlay
	c := r.inFleet()
	if c == nil {
		return
	}
	p.applyRollouts(c)
	if !c.table.waits() {
		return
	}
	r.ops.Lock()
	keys := c.table.take()
	addresses := make(map[string]bool)
	var members []string
	for key := range keys {
		a, address := splitKey(key)
		addresses[address] = true
		if a == aspectMember {
			members = append(members, address)
		}
	}
	served := report.Unserved(p.Pool) == ""
	slices.Sort(members)
	announce := p.applyMemberships(r, c, members)
	changed := p.applyOperatorChanges(r, c, addresses)
	r.ops.Unlock()
	for _, f := range append(announce, changed...) {
		f()
	}
	if len(announce)+len(changed) > 0 {
		p.warnUnserved(served, "")
	}
}

// applyMemberships adds and removes the backends at these addresses, and returns functions that announce that. The
// caller must hold r.ops.
func (p *Pool) applyMemberships(r *overlay, c *replica, addresses []string) (announce []func()) {
	before := make(map[string]*backend.Backend)
	renewed := true // only the times at which registrations expire have changed
	for _, address := range addresses {
		before[address] = p.Find(address)
		renewed = p.applyMembership(r, c, address) && renewed
	}
	if renewed {
		return nil
	}
	r.reconcileAll()
	for _, address := range addresses {
		was, is := before[address], p.Find(address)
		recorded, _, _ := c.change(aspectMember, address)
		data := attribution(cmp.Or(recorded.By, membership.Added), recorded.Who, recorded.Instance)
		switch {
		case was == nil && is != nil:
			announce = append(announce, func() { p.emit(is, false, "backend was added", "backend_added", "", data...) })
		case was != nil && is == nil && recorded.By == "":
			announce = append(announce, func() { p.announceExpiry(was) })
		case was != nil && is == nil:
			if recorded.By == membership.Added {
				p.resetOperator(was)
			}
			announce = append(announce, func() { p.announceRemoval(was, recorded.By, data...) })
		}
	}
	return announce
}

// applyMembership applies the latest membership change of an address to the overlay. It reports whether the membership
// is unchanged. The caller must hold r.ops.
func (p *Pool) applyMembership(r *overlay, c *replica, address string) (same bool) {
	recorded, record, ok := c.change(aspectMember, address)
	if !ok {
		return true // it has expired; p.expire removes the backend
	}
	var next *addition
	if recorded.Added != nil {
		var err error
		if next, err = p.additionOf(address, recorded.Added, record.until); err != nil {
			p.app.logger.Warn("a backend that another instance has added is invalid here and ignored", zap.String("pool", p.Name),
				zap.String("address", clip.Text(address)), zap.String("instance", recorded.Instance), zap.Error(clip.Error(err)))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.added[address]
	digest, removed := r.removed[address]
	switch {
	case recorded.Added == nil:
		delete(r.added, address)
		same = was == nil
	case next == nil, was == nil && len(r.added) >= maxAdded: // this instance cannot add it
		same = true
	default:
		next.hides = recorded.Hidden
		r.added[address] = next
		same = was != nil && was.sequence == next.sequence && sameSettings(was, next)
	}
	if !recorded.Hidden {
		delete(r.removed, address)
		delete(r.unseen, address)
		return same && !removed
	}
	if configured := p.digests[address]; !removed || digest != configured {
		r.removed[address], r.unseen[address] = configured, configured == ""
		same = false
	}
	return same
}

// additionOf returns the addition that another instance has made, with the defaults of this pool.
func (p *Pool) additionOf(address string, b *replicatedBackend, until time.Time) (*addition, error) {
	a := membership.Addition{Address: address, Settings: b.Settings, TTL: time.Duration(b.TTL) * time.Millisecond, Registered: b.Registered}
	s, err := p.resolve(&a)
	if err != nil {
		return nil, err
	}
	next := &addition{Endpoint: s, given: b.Settings, registered: b.Registered, ttl: a.TTL, sequence: b.Since}
	if a.TTL > 0 {
		next.until = until
	}
	return next, nil
}

func sameSettings(a, b *addition) bool {
	return a.registered == b.registered && same(&a.Endpoint, &b.Endpoint)
}

// applyOperatorChanges changes the states, weights and limits of the backends at these addresses, and returns functions
// that announce that. The caller must hold r.ops.
func (p *Pool) applyOperatorChanges(r *overlay, c *replica, addresses map[string]bool) (announce []func()) {
	for address := range addresses {
		b := p.Find(address)
		for _, a := range operatorAspects {
			recorded, _, ok := c.change(a, address)
			if !ok {
				continue
			}
			next := recorded.operatorChange(a)
			differs, _ := r.keepForAddress(address, next)
			if b == nil || !recorded.isOf(b) {
				continue // restoreOperator applies it when a backend joins
			}
			if changes := describe(r.apply(b, next), next, differs); changes != "" {
				announce = append(announce, func() { p.announceChange(b, changes, attribution("", recorded.Who, recorded.Instance)...) })
			}
		}
	}
	if len(announce) > 0 {
		for _, p := range r.all() {
			p.Publish()
		}
	}
	return announce
}

// instance returns the id of this instance of the fleet; empty for a nil replica.
func (c *replica) instance() string {
	if c == nil {
		return ""
	}
	return c.fleet.ID()
}

// attribution returns the data of an event that tell who has made a change and on which instance. Empty values are
// left out.
func attribution(by membership.Origin, who, instance string) (pairs []string) {
	for _, pair := range [][]string{{"by", string(by)}, {"who", clip.To(who, membership.MaxWho)}, {"instance", instance}} {
		if pair[1] != "" {
			pairs = append(pairs, pair...)
		}
	}
	return pairs
}

// sequence returns the lowest sequence number of the next addition, so that all instances list additions in the same
// order.
func (c *replica) sequence() int64 {
	if c == nil {
		return 0
	}
	return int64(c.fleet.Now())
}
