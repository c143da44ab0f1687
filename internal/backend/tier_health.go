// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"slices"
)

// DefaultSpill is by how much a tier is larger than its load needs: it serves all of
// it while at least 1/1.4, or 71 %, of its backends are healthy (Envoy's priority
// levels and overprovisioning factor).
const DefaultSpill = 1.4

// level is what serves together: a tier, or the backups.
type level struct {
	backup bool // behind all tiers
	tier   int  // 0 of backups
}

// level returns what the backend serves with.
func (s *Settings) level() level {
	if s.Backup {
		return level{backup: true}
	}
	return level{tier: s.Tier}
}

func (l level) compare(other level) int {
	if l.backup != other.backup {
		if l.backup {
			return 1
		}
		return -1
	}
	return cmp.Compare(l.tier, other.tier)
}

// tierCounts counts the members of a level that have a weight and are not taken out on
// purpose, those of them that serve in full, and those that are ejected.
type tierCounts struct{ size, healthy, ejected int }

// tierHealth counts the members of a pool by level. Not safe for concurrent use.
type tierHealth struct {
	spill     float64
	levels    []level // in the order in which they serve
	groups    map[level]*tierCounts
	available int // those that serve in full, of all levels
}

// countTierHealth counts members, of which those are healthy that the function says.
func countTierHealth(members []*Backend, spill float64, healthy func(*Backend) bool) *tierHealth {
	c := &tierHealth{spill: spill, groups: make(map[level]*tierCounts)}
	for _, b := range members {
		if !b.Admitted() || b.EffectiveWeight() <= 0 {
			continue
		}
		l := b.level()
		g := c.groups[l]
		if g == nil {
			g = new(tierCounts)
			c.groups[l] = g
			c.levels = append(c.levels, l)
		}
		g.size++
		switch {
		case b.EjectionState() != Healthy:
			g.ejected++
		case healthy(b):
			g.healthy++
			c.available++
		}
	}
	slices.SortFunc(c.levels, level.compare)
	return c
}

// size returns how many are counted.
func (c *tierHealth) size() (size int) {
	for _, g := range c.groups {
		size += g.size
	}
	return size
}

// capacity returns the share of all requests that a group can take, above 1 if it
// can take more.
func (c *tierHealth) capacity(g *tierCounts) float64 {
	return cmp.Or(c.spill, DefaultSpill) * float64(g.healthy) / float64(g.size)
}

// fullCapacity is the capacity of levels that can take all requests.
const fullCapacity = 1 - 1e-9

// covered reports whether the other levels can take all requests, and do, while one
// level has so many healthy backends left.
func (c *tierHealth) covered(l level, left int) bool {
	capacity := 0.0
	for _, other := range c.levels {
		g := c.groups[other]
		switch {
		case other == l:
			if left > 0 && c.spill == 0 { // those behind it get nothing
				return capacity >= fullCapacity
			}
			continue
		case g.healthy == 0:
			continue
		case other.backup && (capacity > 0 || left > 0):
			return capacity >= fullCapacity
		}
		if capacity += c.capacity(g); c.spill == 0 {
			break
		}
	}
	return capacity >= fullCapacity
}

// panics returns the levels in which health is ignored: those with too few healthy
// backends, while the others cannot take all that there is.
func (c *tierHealth) panics(below float64) map[level]bool {
	panics := make(map[level]bool)
	for l, g := range c.groups {
		if float64(g.healthy)/float64(g.size) < below && !c.covered(l, g.healthy) {
			panics[l] = true
		}
	}
	return panics
}

// allowEjection counts the ejection of a backend, and reports whether it may be: most is the
// share of a level that may be, of which one always may, and all while other levels
// can take the requests. The last of the pool that is available never may.
func (c *tierHealth) allowEjection(b *Backend, most float64) bool {
	if c.available < 2 {
		return false
	}
	l := b.level()
	g := c.groups[l]
	if g == nil { // it has no weight, or is taken out: that is no loss
		return true
	}
	if g.ejected >= max(1, int(most*float64(g.size)+1e-9)) && !c.covered(l, 0) {
		return false
	}
	g.ejected++
	if g.healthy > 0 {
		g.healthy--
		c.available--
	}
	return true
}

// share sets the shares of tiers, the members of which are counted; health is
// ignored in those that panic. What is more than a tier can take goes to the next
// one or, where tiers do not spill, all goes to the first that has a healthy backend.
// If all of them cannot take all, each gets more than it should, in proportion.
// Backups get requests only where no tier has a healthy backend.
func (c *tierHealth) share(tiers []Tier, panics map[level]bool) {
	sum := 0.0
	for i := range tiers {
		t := &tiers[i]
		var n tierCounts
		if g := c.groups[t.level()]; g != nil { // else it has come to a weight just now
			n = *g
		}
		if panics[t.level()] {
			n.healthy = n.size
		}
		switch {
		case n.healthy == 0, t.Backup && sum > 0:
		case t.Backup || c.spill == 0:
			sum = max(sum, 1)
		default:
			sum += c.capacity(&n)
		}
		t.Share = min(sum, 1)
	}
	for i := range tiers {
		switch {
		case sum == 0: // none is healthy
			tiers[i].Share = 1
		case sum < 1:
			tiers[i].Share /= sum
		}
	}
}

// Covered returns a function that reports whether the other tiers can take all
// requests of a backend's tier, if it had no healthy backend left. Who is healthy is
// for the given function to say; backups count for nothing, but their own tier.
func (p *Pool) Covered(members []*Backend, healthy func(*Backend) bool) func(*Backend) bool {
	c := countTierHealth(members, p.rules.Spill, func(b *Backend) bool { return !b.Backup && healthy(b) })
	return func(b *Backend) bool { return c.covered(b.level(), 0) }
}
