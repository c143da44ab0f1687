// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// View is an immutable snapshot of a pool.
type View struct {
	// Generation grows with each view of a pool.
	Generation uint64
	// Tiers are the tiers that have a backend to offer, lowest number first, and the
	// backups last.
	Tiers []Tier
	// Members are all members of the pool, eligible or not.
	Members *Members
	// Reason says why there are no tiers; empty if there are.
	Reason Reason
	// HalfOpen says whether a tier has backends that wait for a trial.
	HalfOpen bool
	// Ramping says whether a tier has backends that warm up.
	Ramping bool
	// Panic says that health is ignored, because so few members are healthy.
	Panic bool

	step      time.Duration // of a ramp
	lenient   bool          // backends are offered that are not eligible
	members   int           // those with a weight that are not taken out on purpose
	available int           // those that serve in full
}

// Tier is one tier of a view. Both slices are of the same length and are
// read-only.
type Tier struct {
	// Number is the tier's number; lower ones serve first.
	Number int
	// Backup says that these are the backups, which come after all tiers.
	Backup bool
	// Backends are those that are offered, all with a weight above 0.
	Backends []*Backend
	// Weights are the effective weights, all above 0.
	Weights []float64
	// HalfOpen are those of the backends that wait for a trial.
	HalfOpen []*Backend
	// Ramps are the shares of their weights that the backends have come to, below 1 of
	// those that warm up; nil if none does.
	Ramps []float64
	// Ramping are those of the backends that warm up.
	Ramping []*Backend
	// Share is the share of the requests that go to this tier or a lower one; 1
	// for the last that gets any.
	Share float64
}

// Members are the backends of a pool, immutable.
type Members struct {
	// All is sorted as configured; discovered backends follow by address.
	All       []*Backend
	byAddress map[string]*Backend
}

// NewMembers returns the set of the given backends, whose addresses must
// differ.
func NewMembers(all []*Backend) *Members {
	m := &Members{All: all, byAddress: make(map[string]*Backend, len(all))}
	for _, b := range all {
		m.byAddress[b.Address] = b
	}
	return m
}

// Find returns the member with the given dial address, or nil.
func (m *Members) Find(address string) *Backend { return m.byAddress[address] }

// newView returns the view of the given members as they are now, and their counts.
func newView(generation uint64, members *Members, rules *Rules) (*View, *tierHealth) {
	v := &View{Generation: generation, Members: members, step: rules.SlowStart.step()}
	c := countTierHealth(members.All, rules.Spill, (*Backend).Open)
	v.members, v.available = c.size(), c.available
	panics := c.panics(rules.Panic)
	v.Panic = len(panics) > 0
	v.lenient = v.Panic || v.available == 0
	v.buildTiers(func(b *Backend) bool {
		switch {
		case panics[b.level()]:
			return b.Admitted()
		case v.available == 0: // better one that was ejected than none
			return b.Open()
		}
		return b.Open() && b.EjectionState() != Ejected
	})
	c.share(v.Tiers, panics)
	switch {
	case len(v.Tiers) > 0:
	case len(members.All) == 0:
		v.Reason = ReasonEmpty
	case !slices.ContainsFunc(members.All, func(b *Backend) bool { return b.AdminState() == health.Ready }):
		v.Reason = ReasonMaintenance
	case !slices.ContainsFunc(members.All, (*Backend).Open):
		v.Reason = ReasonDown
	default:
		v.Reason = ReasonWeight
	}
	return v, c
}

// buildTiers makes the tiers of the members that are acceptable and have a weight.
func (v *View) buildTiers(acceptable func(*Backend) bool) {
	tiers := make(map[level]*Tier)
	for _, b := range v.Members.All {
		f := b.Factors()
		weight := f.Weight()
		if weight <= 0 || !acceptable(b) {
			continue
		}
		t := tiers[b.level()]
		if t == nil {
			t = &Tier{Number: b.Tier, Backup: b.Backup}
			tiers[b.level()] = t
		}
		if b.EjectionState() == HalfOpen && !v.lenient {
			t.HalfOpen = append(t.HalfOpen, b)
			v.HalfOpen = true
		}
		if f.SlowStart < 1 {
			t.Ramping = append(t.Ramping, b)
			v.Ramping = true
		}
		t.Backends = append(t.Backends, b)
		t.Weights = append(t.Weights, weight)
		t.ramp(f.SlowStart)
	}
	for _, t := range tiers {
		v.Tiers = append(v.Tiers, *t)
	}
	slices.SortFunc(v.Tiers, func(a, b Tier) int { return a.level().compare(b.level()) })
}

// level returns what the tier is.
func (t *Tier) level() level {
	if t.Backup {
		return level{backup: true}
	}
	return level{tier: t.Number}
}

// Healthy returns how many members serve in full, of those with a weight that
// nobody has taken out on purpose.
func (v *View) Healthy() (healthy, of int) { return v.available, v.members }

// Usable reports whether a backend of the view may get a request now: it is
// still what it was when the view was made, and has a free slot.
func (v *View) Usable(b *Backend) bool {
	if v.lenient {
		return b.Admitted() && !b.full()
	}
	return b.Eligible()
}

// mayServe is Usable of a backend that may be full.
func (v *View) mayServe(b *Backend) bool {
	if v.lenient {
		return b.Admitted()
	}
	return b.serves()
}

// Full reports whether a backend of the view serves and has as many requests as it may
// have.
func (v *View) Full(b *Backend) bool { return v.mayServe(b) && b.full() }

// serves reports whether any backend of the view may get requests, or might if it
// were not full.
func (v *View) serves() bool {
	return slices.ContainsFunc(v.Tiers, func(t Tier) bool { return slices.ContainsFunc(t.Backends, v.mayServe) })
}

// NotOnTrial reports whether a backend of the view is not on trial, as far as that
// counts.
func (v *View) NotOnTrial(b *Backend) bool { return v.lenient || b.EjectionState() == Healthy }

// Reserve is asked when a backend of the view was selected, see [Backend.Reserve].
func (v *View) Reserve(b *Backend) (c Permit, ok bool) {
	if v.lenient {
		return b.reserveSlot()
	}
	return b.Reserve()
}
