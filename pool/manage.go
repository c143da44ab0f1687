// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// acting returns the pool of the latest running configuration: a reload may have replaced p.
func (p *Pool) acting() *Pool {
	if users := p.overlay.Users(); len(users) > 0 {
		return users[len(users)-1]
	}
	return p
}

// Add implements [membership.Manager].
func (p *Pool) Add(a membership.Addition) (*backend.Backend, error) {
	p = p.acting()
	s, err := p.resolve(&a)
	if err != nil {
		return nil, err
	}
	r := p.overlay
	r.ops.Lock()
	b, created, err := r.add(p, s, &a)
	r.ops.Unlock()
	if err != nil || !created {
		return b, err
	}
	p.emit(b, false, "backend was added", "backend_added", "", attribution(p.Origin(s.Address), a.Who, r.inFleet().instance())...)
	return b, p.flush()
}

// add adds a backend or renews a registration. created reports that the backend was added, and must be announced. The
// caller must hold r.ops.
func (r *overlay) add(p *Pool, s backend.Endpoint, a *membership.Addition) (b *backend.Backend, created bool, err error) {
	old := p.Find(s.Address)
	next := &addition{Endpoint: s, given: a.Settings, registered: a.Registered, verified: a.Verified, ttl: a.TTL, who: clip.To(a.Who, membership.MaxWho)}
	if a.TTL > 0 {
		next.until = time.Now().Add(a.TTL)
	}
	r.mu.Lock()
	was := r.added[s.Address]
	again := a.Registered && old != nil
	n := len(r.added)
	r.mu.Unlock()
	if again && was != nil { // a renewal keeps the settings that it omits
		weight := s.Weight
		if s = was.Endpoint; a.Weight != nil {
			s.Weight = weight
		}
		next.Endpoint, next.given = s, was.given
		if a.Weight != nil {
			next.given.Weight = a.Weight
		}
	}
	c := r.inFleet()
	switch other := p.Get(s.ID); {
	case old != nil && !again:
		return nil, false, fmt.Errorf("%w: %s", membership.ErrExists, s.Address)
	case other != nil && other.Address != s.Address:
		return nil, false, fmt.Errorf("%w: id %q belongs to %s", membership.ErrExists, s.ID, other.Address)
	case again && (was == nil || !was.registered): // a member that is configured, discovered or added by an operator
		return old, false, nil
	case was == nil && n >= maxAdded:
		return nil, false, fmt.Errorf("%d backends were added to the pool at run time, which is the limit; remove one first", n)
	}
	if err := c.checkSize(next); err != nil {
		return nil, false, err
	}
	r.mu.Lock()
	if was != nil {
		next.sequence = was.sequence
	} else {
		r.sequence = max(r.sequence+1, c.sequence())
		next.sequence = r.sequence
	}
	_, next.hides = r.removed[s.Address]
	r.added[s.Address] = next
	r.mu.Unlock()
	change, ttl := next.replicated()
	c.publish(aspectMember, s.Address, change, ttl)
	r.Wake()
	if was != nil && same(&was.Endpoint, &s) && old != nil {
		return old, false, nil
	}
	r.reconcileAll()
	if b = p.acting().Find(s.Address); b == nil {
		return nil, false, errors.New("the backend is invalid; see the log")
	}
	return b, old == nil, nil
}

// Change implements [membership.Manager].
func (p *Pool) Change(id string, c membership.Change) (*backend.Backend, error) {
	p = p.acting()
	if o := c.Weight; o != nil && o.Value != nil {
		if err := backend.Weights.Check("weight", *o.Value); err != nil {
			return nil, err
		}
	}
	if o := c.MaxRequests; o != nil && o.Value != nil {
		if err := backend.Limits.Check("max_requests", *o.Value); err != nil {
			return nil, err
		}
	}
	r := p.overlay
	r.ops.Lock()
	b := p.Get(id)
	if b == nil {
		r.ops.Unlock()
		return nil, fmt.Errorf("%w: %q", membership.ErrUnknown, id)
	}
	served := report.Unserved(p.Pool) == ""
	differs, err := r.keepForAddress(b.Address, c)
	if err != nil {
		r.ops.Unlock()
		return nil, err
	}
	r.inFleet().publishChange(b, c)
	changes := describe(r.apply(b, c), c, differs)
	for _, p := range r.all() {
		p.Publish()
	}
	r.ops.Unlock()
	if changes != "" {
		p.announceChange(b, changes, attribution("", c.Who, r.inFleet().instance())...)
		p.warnUnserved(served, b.ID)
		return b, p.flush()
	}
	return b, nil
}

// announceChange announces that an operator has changed a backend, and closes its streams if that is
// configured.
func (p *Pool) announceChange(b *backend.Backend, changes string, data ...string) {
	p.emit(b, false, "backend was changed", "backend_changed", changes, data...)
	p.closeStreams(b)
}

// warnUnserved logs a warning if no backend takes new requests, and one did before a change. id is the id of the
// changed backend; empty if several were changed.
func (p *Pool) warnUnserved(served bool, id string) {
	pair := []zap.Field{zap.String("pool", p.Name), zap.String("backend", id)}
	switch warning := report.Unserved(p.Pool); {
	case !served || warning == "":
	case len(p.Groups()) == 0:
		p.app.logger.Warn("no backend of the pool takes new requests now", pair...)
	default:
		p.app.logger.Warn("no backend of the main group takes new requests now", pair...)
	}
}

// change applies a change to a backend, and describes what has changed; empty if nothing has.
func change(b *backend.Backend, c membership.Change) string {
	var changes []string
	if c.Admin != nil && b.AdminState() != *c.Admin {
		b.SetAdmin(*c.Admin)
		changes = append(changes, c.Admin.String())
	}
	if c.Weight != nil {
		old := b.OperatorWeight()
		var next *health.AgentWeight
		if c.Weight.Value != nil {
			next = &health.AgentWeight{Value: float64(*c.Weight.Value)}
		}
		if (old == nil) != (next == nil) || old != nil && *old != *next {
			b.SetWeight(next)
			changes = append(changes, "weight "+value(c.Weight))
		}
	}
	if c.MaxRequests != nil {
		old := b.OperatorMaxRequests()
		if next := c.MaxRequests.Value; (old == nil) != (next == nil) || old != nil && *old != *next {
			b.SetMaxRequests(next)
			changes = append(changes, "max_requests "+value(c.MaxRequests))
		}
	}
	return strings.Join(changes, ", ")
}

// describe adds to a description of changes whether they apply to the address, if they do or did before.
func describe(changes string, c membership.Change, differs bool) string {
	switch {
	case c.ForAddress && changes != "":
		return changes + ", for the address"
	case c.ForAddress && differs:
		return "for the address"
	case differs && changes == "":
		return "for the instance only"
	}
	return changes
}

func value(o *membership.Override) string {
	if o.Value == nil {
		return "as configured"
	}
	return fmt.Sprint(*o.Value)
}

// Remove implements [membership.Manager].
func (p *Pool) Remove(id string, how membership.Removal) (*backend.Backend, error) {
	p = p.acting()
	r := p.overlay
	r.ops.Lock()
	served := report.Unserved(p.Pool) == ""
	b, err := r.remove(p, id, how)
	r.ops.Unlock()
	if err != nil {
		return nil, err
	}
	by := membership.Added
	if how.Registered {
		by = membership.Registered
	}
	p.announceRemoval(b, by, attribution(by, how.Who, r.inFleet().instance())...)
	p.warnUnserved(served, b.ID)
	return b, p.flush()
}

// announceRemoval announces that a backend was removed, and ends its sessions if an operator has
// removed it.
func (p *Pool) announceRemoval(b *backend.Backend, by membership.Origin, data ...string) {
	if by == membership.Added {
		p.ForgetSessions(b)
	}
	p.emit(b, false, "backend was removed", "backend_removed", "", data...)
}

// remove removes a backend. The caller must hold r.ops.
func (r *overlay) remove(p *Pool, id string, how membership.Removal) (*backend.Backend, error) {
	b, registered := p.Get(id), how.Registered
	if b == nil {
		return nil, fmt.Errorf("%w: %q", membership.ErrUnknown, id)
	}
	r.mu.Lock()
	if a := r.added[b.Address]; registered && (a == nil || !a.registered) {
		r.mu.Unlock()
		return nil, fmt.Errorf("%w: %q was not added by a registration", membership.ErrUnknown, id)
	}
	delete(r.added, b.Address)
	digest, configured := p.digests[b.Address]
	c, by := r.replica, membership.Registered
	if !registered {
		by = membership.Added
		if known := configured || p.found(b.Address); known || c != nil {
			r.removed[b.Address] = digest
			r.unseen[b.Address] = !known
		}
	}
	_, hidden := r.removed[b.Address]
	r.mu.Unlock()
	c.publishRemoval(b, replicatedChange{By: by, Who: clip.To(how.Who, membership.MaxWho), Hidden: hidden}, removalTTL(digest))
	r.reconcileAll()
	if !registered {
		p.resetOperator(b)
	}
	return b, nil
}

// resetOperator ends the changes of an operator to a backend that was removed, so that it starts
// without them if it is added again.
func (p *Pool) resetOperator(b *backend.Backend) {
	p.clearOperator(b)
	p.overlay.clearAddress(b.Address)
	b.SetAdmin(health.Ready)
	b.SetWeight(nil)
	b.SetMaxRequests(nil)
}

// Origin implements [membership.Manager].
func (p *Pool) Origin(address string) membership.Origin {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.current[address]; m != nil {
		return m.origin
	}
	return ""
}

// Checks implements [membership.Manager].
func (p *Pool) Checks() (names []string) {
	for _, c := range p.checks {
		names = append(names, c.name)
	}
	return names
}
