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
)

// awaitFleet waits, with `wait`, until the pool has what the fleet knows of it.
func (p *Pool) awaitFleet(ctx context.Context) {
	f := p.app.FleetConfig
	f.Await(ctx)
	select {
	case <-f.Fleet().Synced():
		p.caughtUp.Do(p.settle)
	default:
	}
}

// settle applies the changes that other instances of the fleet have made since its last call. It
// depends only on the latest change of each aspect of a backend, so the order in which they came
// does not matter.
func (p *Pool) settle() {
	p = p.acting()
	r := p.overlay
	c := r.inFleet()
	if c == nil {
		return
	}
	p.settleRollouts(c)
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
	served := p.Serves()
	slices.Sort(members)
	announce := p.settleMembers(r, c, members)
	changed := p.settleOperator(r, c, addresses)
	r.ops.Unlock()
	for _, f := range append(announce, changed...) {
		f()
	}
	if len(announce)+len(changed) > 0 {
		p.warnUnserved(served, "")
	}
}

// settleMembers adds and removes backends, and returns the announcements of that. The caller must
// hold r.ops.
func (p *Pool) settleMembers(r *overlay, c *replica, addresses []string) (announce []func()) {
	before := make(map[string]*backend.Backend)
	renewed := true // nothing but the time at which registrations expire has changed
	for _, address := range addresses {
		before[address] = p.Find(address)
		renewed = p.settleMember(r, c, address) && renewed
	}
	if renewed {
		return nil
	}
	r.reconcileAll()
	for _, address := range addresses {
		was, is := before[address], p.Find(address)
		said, _, _ := c.change(aspectMember, address)
		made := made(cmp.Or(said.By, membership.Added), said.Who, said.Instance)
		switch {
		case was == nil && is != nil:
			announce = append(announce, func() { p.emit(is, false, "backend was added", "backend_added", "", made...) })
		case was != nil && is == nil && said.By == "":
			announce = append(announce, func() { p.announceExpiry(was) })
		case was != nil && is == nil:
			if said.By == membership.Added {
				p.resetOperator(was)
			}
			announce = append(announce, func() { p.announceRemoval(was, said.By, made...) })
		}
	}
	return announce
}

// settleMember changes the overlay as the latest change says. It reports whether the membership is
// as before. The caller must hold r.ops.
func (p *Pool) settleMember(r *overlay, c *replica, address string) (same bool) {
	said, record, ok := c.change(aspectMember, address)
	if !ok {
		return true // it has expired; expire sees to the rest
	}
	var next *addition
	if said.Added != nil {
		var err error
		if next, err = p.additionOf(address, said.Added, record.until); err != nil {
			p.app.logger.Warn("a backend that another instance has added is invalid here and ignored", zap.String("pool", p.Name),
				zap.String("address", clip.Text(address)), zap.String("instance", said.Instance), zap.Error(clip.Error(err)))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.added[address]
	digest, removed := r.removed[address]
	switch {
	case said.Added == nil:
		delete(r.added, address)
		same = was == nil
	case next == nil, was == nil && len(r.added) >= maxAdded: // it cannot be here
		same = true
	default:
		next.hides = said.Hidden
		r.added[address] = next
		same = was != nil && was.sequence == next.sequence && sameSettings(was, next)
	}
	if !said.Hidden {
		delete(r.removed, address)
		delete(r.unseen, address)
		return same && !removed
	}
	if says := p.digests[address]; !removed || digest != says {
		r.removed[address], r.unseen[address] = says, says == ""
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

// settleOperator changes states, weights and limits of backends, and returns the announcements of
// that. The caller must hold r.ops.
func (p *Pool) settleOperator(r *overlay, c *replica, addresses map[string]bool) (announce []func()) {
	for address := range addresses {
		b := p.Find(address)
		for _, a := range operatorAspects {
			said, _, ok := c.change(a, address)
			if !ok {
				continue
			}
			next := said.operatorChange(a)
			differs, _ := r.keepForAddress(address, next)
			if b == nil || !said.isOf(b) {
				continue // it gets them when it joins: see restoreOperator
			}
			if changes := describe(r.apply(b, next), next, differs); changes != "" {
				announce = append(announce, func() { p.announceChange(b, changes, made("", said.Who, said.Instance)...) })
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

// here returns the id of this instance; empty without a fleet.
func (c *replica) here() string {
	if c == nil {
		return ""
	}
	return c.fleet.ID()
}

// made says in events who has made a change, on which instance. Empty values are left out.
func made(by membership.Origin, who, instance string) (pairs []string) {
	for _, pair := range [][]string{{"by", string(by)}, {"who", clip.To(who, membership.MaxWho)}, {"instance", instance}} {
		if pair[1] != "" {
			pairs = append(pairs, pair...)
		}
	}
	return pairs
}

// sequence returns the lowest number of the next addition, which orders the additions alike on all
// instances.
func (c *replica) sequence() int64 {
	if c == nil {
		return 0
	}
	return int64(c.fleet.Now())
}
