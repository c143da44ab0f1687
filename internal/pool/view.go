// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// View is an immutable snapshot of the eligible backends of a pool or, with [Options.Groups], of its
// main group; see [View.Of].
type View struct {
	// Generation increases with each view of a pool.
	Generation uint64
	// Tiers are the tiers that have an eligible backend, lowest number first, and the backups
	// last. With [Options.Locality] a tier is in two parts: at home, and then abroad.
	Tiers []tiers.Tier
	// Members are all members of the pool, eligible or not, and Own those of the group.
	Members, Own *Members
	// Reason is the reason why there are no tiers; empty if there are.
	Reason Reason
	// HalfOpen reports whether a tier has half-open backends.
	HalfOpen bool
	// Ramping reports whether a tier has backends in slow start.
	Ramping bool
	// Panic reports that the health of a tier is ignored because too few of its members are healthy.
	Panic bool

	groups    []*View       // of the groups beside the main one, each with its own members' tiers
	step      time.Duration // of a slow start
	overdue   time.Duration // from when on a trial may be any request
	lenient   bool          // the tiers may contain backends that are not eligible
	members   int           // members that are admitted and have a weight
	available int           // those of them that are healthy
}

// Members is an immutable set of the backends of a pool.
type Members struct {
	// All is in the order of the configuration; discovered backends follow by address.
	All []*backend.Backend
	// Used are those of them that this instance uses; see [backend.Backend.SetUnused].
	Used      []*backend.Backend
	byAddress map[string]*backend.Backend
}

// NewMembers returns the set of the given backends, whose addresses must differ.
func NewMembers(all []*backend.Backend) *Members {
	m := &Members{All: all, byAddress: make(map[string]*backend.Backend, len(all))}
	for _, b := range all {
		m.byAddress[b.Address] = b
		if !b.Unused() {
			m.Used = append(m.Used, b)
		}
	}
	return m
}

// Find returns the member with the given dial address, or nil.
func (m *Members) Find(address string) *backend.Backend { return m.byAddress[address] }

// newView returns the view of the members of one group in their current state, and counts them. main is the view of the
// main group, which serves what this one cannot; nil for that group itself.
func (p *Pool) newView(g *groupState, main *View) *View {
	rules, own := &p.options, g.own
	v := &View{Generation: p.generation, Members: p.members, Own: own, step: rules.SlowStart.Step()}
	if rules.Outliers != nil {
		v.overdue = rules.Outliers.EjectFor
	}
	serving := own.Used
	c := tiers.CountOpen(serving, rules.Spill)
	if c.Available() == 0 && len(serving) < len(own.All) { // another backend is better than none
		serving = own.All
		c = tiers.CountOpen(serving, rules.Spill)
	}
	v.members, v.available = c.Size(), c.Available()
	panics := c.Panics(rules.Panic)
	if v.available == 0 && main != nil && main.available > 0 { // the main group serves
		panics = nil
	}
	v.Panic = len(panics) > 0
	v.lenient = v.Panic || v.available == 0
	v.Tiers = tiers.Build(serving, v.lenient, rules.Locality.Abroad, func(b *backend.Backend) bool {
		switch {
		case panics[tiers.LevelOf(b)]:
			return b.Admitted()
		case v.available == 0: // an ejected backend, or one that joins, is better than none
			return b.Open() || b.Joining() && b.Admitted() && (main == nil || main.available == 0)
		}
		return b.Open() && b.EjectionState() != outlier.Ejected
	})
	for i := range v.Tiers {
		v.HalfOpen = v.HalfOpen || len(v.Tiers[i].HalfOpen) > 0
		v.Ramping = v.Ramping || len(v.Tiers[i].Ramping) > 0
	}
	c.SetShares(v.Tiers, panics, func(l tiers.Level) float64 { return p.zones.Home(g.name, l) })
	g.health = c
	switch {
	case len(v.Tiers) > 0:
	case len(own.All) == 0:
		v.Reason = ReasonEmpty
	case !slices.ContainsFunc(own.All, func(b *backend.Backend) bool { return b.AdminState() == health.Ready }):
		v.Reason = ReasonMaintenance
	case !slices.ContainsFunc(own.All, (*backend.Backend).Open):
		v.Reason = ReasonDown
	default:
		v.Reason = ReasonWeight
	}
	return v
}

// Healthy returns the number of healthy members, and of all members that are admitted and have a
// weight.
func (v *View) Healthy() (healthy, total int) { return v.available, v.members }

// Usable reports whether a backend of the view may get a request now: its state still allows it,
// and it has a free slot.
func (v *View) Usable(b *backend.Backend) bool {
	if v.lenient {
		return b.Admitted() && !b.Full()
	}
	return b.Eligible()
}

// Lenient reports whether the view offers backends that are not eligible, since too few are.
func (v *View) Lenient() bool { return v.lenient }

// mayServe is Usable for a backend that may be full.
func (v *View) mayServe(b *backend.Backend) bool {
	if v.lenient {
		return b.Admitted()
	}
	return b.Serves()
}

// Full reports whether a backend of the view serves and is at its limit.
func (v *View) Full(b *backend.Backend) bool { return v.mayServe(b) && b.Full() }

// serves reports whether any backend of the view may get requests, apart from its limit.
func (v *View) serves() bool {
	return slices.ContainsFunc(v.Tiers, func(t tiers.Tier) bool { return slices.ContainsFunc(t.Backends, v.mayServe) })
}

// NotOnTrial reports whether a backend of the view is not ejected or half-open. It is always true
// while the view ignores ejections.
func (v *View) NotOnTrial(b *backend.Backend) bool {
	return v.lenient || b.EjectionState() == outlier.Healthy
}

// Reserve returns a permit for a backend of the view that was selected, see [backend.Backend.Reserve].
func (v *View) Reserve(b *backend.Backend) (c backend.Permit, ok bool) {
	if v.lenient {
		return b.ReserveSlot()
	}
	return b.Reserve()
}
