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
	// Tiers are the tiers that have an eligible backend with a weight, lowest
	// number first.
	Tiers []Tier
	// Members are all members of the pool, eligible or not.
	Members *Members
	// Reason says why there are no tiers; empty if there are.
	Reason string
}

// Tier is one tier of a view. Both slices are of the same length and are
// read-only.
type Tier struct {
	// Number is the tier's number; lower ones serve first.
	Number int
	// Backends are the eligible backends with a weight above 0.
	Backends []*Backend
	// Weights are the effective weights, all above 0.
	Weights []float64
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

// NewView returns the view of the given members as they are now.
func NewView(generation uint64, members *Members) *View {
	v := &View{Generation: generation, Members: members}
	tiers := make(map[int]*Tier)
	up := false
	for _, b := range members.All {
		if !b.Eligible() {
			continue
		}
		up = true
		weight := b.EffectiveWeight()
		if weight <= 0 {
			continue
		}
		t := tiers[b.Tier]
		if t == nil {
			t = &Tier{Number: b.Tier}
			tiers[b.Tier] = t
		}
		t.Backends = append(t.Backends, b)
		t.Weights = append(t.Weights, weight)
	}
	for _, t := range tiers {
		v.Tiers = append(v.Tiers, *t)
	}
	slices.SortFunc(v.Tiers, func(a, b Tier) int { return cmp.Compare(a.Number, b.Number) })
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
