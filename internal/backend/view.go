// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"slices"
)

// Reasons why a view has no backend to offer, as in the placeholder
// {http.ballast.reason}.
const (
	// ReasonEmpty: the pool has no members.
	ReasonEmpty = "no_backends"
	// ReasonDown: no member is up.
	ReasonDown = "all_down"
	// ReasonWeight: members are up, but all of them have weight 0.
	ReasonWeight = "no_weight"
)

// View is an immutable snapshot of a pool.
type View struct {
	// Generation grows with each view of a pool.
	Generation uint64
	// Tiers are the tiers that have a backend to offer, lowest number first.
	Tiers []Tier
	// Members are all members of the pool, eligible or not.
	Members *Members
	// Reason says why there are no tiers; empty if there are.
	Reason string
	// Panic says that health is ignored, because so few members are healthy.
	Panic bool

	lenient   bool // backends are offered that are not eligible
	members   int  // those with a weight that are not taken out on purpose
	ejected   int
	available int // those that serve in full
}

// Tier is one tier of a view. Both slices are of the same length and are
// read-only.
type Tier struct {
	// Number is the tier's number; lower ones serve first.
	Number int
	// Backends are those that are offered, all with a weight above 0.
	Backends []*Backend
	// Weights are the effective weights, all above 0.
	Weights []float64
	// Trials are those of the backends that wait for a trial.
	Trials []*Backend
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

// newView returns the view of the given members as they are now.
func newView(generation uint64, members *Members, panicBelow float64) *View {
	v := &View{Generation: generation, Members: members}
	up := false
	for _, b := range members.All {
		up = up || b.Open()
		if b.Weight == 0 || !b.Admitted() {
			continue
		}
		v.members++
		switch phase := b.Phase(); {
		case !b.Open():
			if phase != In {
				v.ejected++
			}
		case phase == In:
			v.available++
		default:
			v.ejected++
		}
	}
	switch {
	case float64(v.available) < panicBelow*float64(v.members):
		v.Panic, v.lenient = true, true
		v.offer((*Backend).Admitted)
	default:
		v.offer(func(b *Backend) bool { return b.Open() && b.Phase() != Out })
		if v.available == 0 { // better one that was ejected than none
			v.lenient = true
			v.offer((*Backend).Open)
		}
	}
	switch {
	case len(v.Tiers) > 0:
	case len(members.All) == 0:
		v.Reason = ReasonEmpty
	case !up:
		v.Reason = ReasonDown
	default:
		v.Reason = ReasonWeight
	}
	return v
}

// offer makes the tiers of the members that are acceptable and have a weight.
func (v *View) offer(acceptable func(*Backend) bool) {
	v.Tiers = nil
	tiers := make(map[int]*Tier)
	size, healthy := make(map[int]int), make(map[int]int)
	for _, b := range v.Members.All {
		if b.Weight > 0 && b.Admitted() {
			size[b.Tier]++
		}
		weight := b.EffectiveWeight()
		if !acceptable(b) || weight <= 0 {
			continue
		}
		t := tiers[b.Tier]
		if t == nil {
			t = &Tier{Number: b.Tier}
			tiers[b.Tier] = t
		}
		switch {
		case v.lenient || b.Phase() == In:
			healthy[b.Tier]++
		case b.Phase() == Trial:
			t.Trials = append(t.Trials, b)
		}
		t.Backends = append(t.Backends, b)
		t.Weights = append(t.Weights, weight)
	}
	for _, t := range tiers {
		v.Tiers = append(v.Tiers, *t)
	}
	slices.SortFunc(v.Tiers, func(a, b Tier) int { return cmp.Compare(a.Number, b.Number) })
	spill(v.Tiers, size, healthy)
}

// mayEject returns how many of the members may be ejected beyond those that are.
// One always may, but never the last that is available.
func (v *View) mayEject(rules *Outliers) int {
	if rules == nil {
		return 0
	}
	return min(max(1, int(rules.MaxEjected*float64(v.members)+1e-9))-v.ejected, v.available-1)
}

// Healthy returns how many members serve in full, of those with a weight that
// nobody has taken out on purpose.
func (v *View) Healthy() (healthy, of int) { return v.available, v.members }

// Usable reports whether a backend of the view may get a request now: it is
// still what it was when the view was made.
func (v *View) Usable(b *Backend) bool {
	if v.lenient {
		return b.Admitted() && !b.full()
	}
	return b.Eligible()
}

// Proven reports whether a backend of the view is not on trial, as far as that
// counts.
func (v *View) Proven(b *Backend) bool { return v.lenient || b.Phase() == In }

// Claim is asked when a backend of the view was selected, see [Backend.Reserve].
func (v *View) Claim(b *Backend) bool { return v.lenient || b.Reserve() }
