// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/locality"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// View is an immutable snapshot of the eligible backends of a pool.
type View struct {
	// Generation increases with each view of a pool.
	Generation uint64
	// Tiers are the tiers that have an eligible backend, lowest number first, and the backups
	// last. With [Options.Locality] a tier is in two parts: at home, and then abroad.
	Tiers []Tier
	// Members are all members of the pool, eligible or not.
	Members *Members
	// Reason is why there are no tiers; empty if there are.
	Reason Reason
	// HalfOpen says whether a tier has half-open backends.
	HalfOpen bool
	// Ramping says whether a tier has backends in slow start.
	Ramping bool
	// Panic says that the health of a tier is ignored because too few of its members are healthy.
	Panic bool

	step      time.Duration // of a slow start
	lenient   bool          // the tiers may contain backends that are not eligible
	members   int           // members that are admitted and have a weight
	available int           // those of them that are healthy
}

// Tier is one tier of a view. Its slices are read-only. Backends and Weights have the same
// length.
type Tier struct {
	// Number is the tier's number; lower ones serve first.
	Number int
	// Backup says that these are the backups, which come after all tiers.
	Backup bool
	// Abroad says that these are the backends of other zones.
	Abroad bool
	// Home is the share of the tier's requests that go to its part at home, from 0 to 1.
	Home float64
	// Backends are the backends to choose from, all with a weight above 0.
	Backends []*backend.Backend
	// Weights are the effective weights, all above 0.
	Weights []float64
	// HalfOpen are the half-open backends among them.
	HalfOpen []*backend.Backend
	// Ramps are the slow-start factors of the backends, below 1 in slow start; nil if none is in
	// slow start.
	Ramps []float64
	// Ramping are the backends in slow start among them.
	Ramping []*backend.Backend
	// Share is the share of the requests that go to this tier or one before; 1 for the last tier
	// that gets any.
	Share float64
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

// newView returns the view of the given members in their current state, and their counts.
func newView(generation uint64, members *Members, rules *Options, zones *locality.Balances) (*View, *tiers.Health) {
	v := &View{Generation: generation, Members: members, step: rules.SlowStart.Step()}
	serving := members.Used
	c := tiers.Count(serving, rules.Spill, (*backend.Backend).Open)
	if c.Available() == 0 && len(serving) < len(members.All) { // another backend is better than none
		serving = members.All
		c = tiers.Count(serving, rules.Spill, (*backend.Backend).Open)
	}
	v.members, v.available = c.Size(), c.Available()
	panics := c.Panics(rules.Panic)
	v.Panic = len(panics) > 0
	v.lenient = v.Panic || v.available == 0
	v.buildTiers(serving, rules.Locality, func(b *backend.Backend) bool {
		switch {
		case panics[tiers.LevelOf(b)]:
			return b.Admitted()
		case v.available == 0: // an ejected backend is better than none
			return b.Open()
		}
		return b.Open() && b.EjectionState() != outlier.Ejected
	})
	v.setShares(c, panics, zones)
	switch {
	case len(v.Tiers) > 0:
	case len(members.All) == 0:
		v.Reason = ReasonEmpty
	case !slices.ContainsFunc(members.All, func(b *backend.Backend) bool { return b.AdminState() == health.Ready }):
		v.Reason = ReasonMaintenance
	case !slices.ContainsFunc(members.All, (*backend.Backend).Open):
		v.Reason = ReasonDown
	default:
		v.Reason = ReasonWeight
	}
	return v, c
}

// buildTiers makes the tiers of the backends that are acceptable and have a weight.
func (v *View) buildTiers(serving []*backend.Backend, zone *locality.Preference, acceptable func(*backend.Backend) bool) {
	type part struct {
		tiers.Level
		abroad bool
	}
	parts := make(map[part]*Tier)
	for _, b := range serving {
		f := b.Factors()
		weight := f.Weight()
		if weight <= 0 || !acceptable(b) {
			continue
		}
		in := part{tiers.LevelOf(b), zone.Abroad(b)}
		t := parts[in]
		if t == nil {
			t = &Tier{Number: b.Tier, Backup: b.Backup, Abroad: in.abroad}
			parts[in] = t
		}
		if b.EjectionState() == outlier.HalfOpen && !v.lenient {
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
	for _, t := range parts {
		v.Tiers = append(v.Tiers, *t)
	}
	slices.SortFunc(v.Tiers, func(a, b Tier) int {
		switch order := a.level().Compare(b.level()); {
		case order != 0 || a.Abroad == b.Abroad:
			return order
		case a.Abroad:
			return 1
		}
		return -1
	})
}

// level returns the level of the tier.
func (t *Tier) level() tiers.Level {
	if t.Backup {
		return tiers.Level{Backup: true}
	}
	return tiers.Level{Tier: t.Number}
}

// setShares sets the shares of the tiers and, of a tier in two parts, those of the parts.
func (v *View) setShares(c *tiers.Health, panics map[tiers.Level]bool, zones *locality.Balances) {
	var levels []tiers.Level
	for i := range v.Tiers {
		levels = append(levels, v.Tiers[i].level())
	}
	levels = slices.Compact(levels)
	before := 0.0
	for i, share := range c.Shares(levels, panics) {
		for n := range v.Tiers {
			t := &v.Tiers[n]
			if t.level() != levels[i] {
				continue
			}
			t.Share = share
			switch {
			case n+1 < len(v.Tiers) && v.Tiers[n+1].level() == levels[i]:
				t.Home = homeShare(t, &v.Tiers[n+1], panics[levels[i]], zones)
				t.Share = before + (share-before)*t.Home
			case n > 0 && v.Tiers[n-1].level() == levels[i]:
				t.Home = v.Tiers[n-1].Home
			case !t.Abroad:
				t.Home = 1
			}
		}
		before = share
	}
}

// homeShare returns the share of a tier's requests that stay at home.
func homeShare(home, abroad *Tier, panics bool, zones *locality.Balances) float64 {
	serves := func(t *Tier) bool { return panics || slices.ContainsFunc(t.Backends, (*backend.Backend).Serving) }
	switch {
	case !serves(abroad):
		return 1
	case !serves(home):
		return 0
	}
	return zones.Home(home.level())
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
	return slices.ContainsFunc(v.Tiers, func(t Tier) bool { return slices.ContainsFunc(t.Backends, v.mayServe) })
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

// ramp appends the weight share of the backend that was added to t.Backends last.
func (t *Tier) ramp(share float64) {
	if share == 1 && t.Ramps == nil {
		return
	}
	for len(t.Ramps) < len(t.Backends)-1 {
		t.Ramps = append(t.Ramps, 1)
	}
	t.Ramps = append(t.Ramps, share)
}
