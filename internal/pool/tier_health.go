// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"slices"
)

// DefaultSpill is the default overprovisioning factor. A tier serves all requests while at least
// 1/1.4, or 71 %, of its backends are healthy (Envoy's priority levels and overprovisioning
// factor).
const DefaultSpill = 1.4

// level identifies a tier, or the backups.
type level struct {
	backup bool // after all tiers
	tier   int  // 0 for backups
}

// levelOf returns the level of a backend.
func levelOf(b *backend.Backend) level {
	if b.Backup {
		return level{backup: true}
	}
	return level{tier: b.Tier}
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

// tierCounts counts the members of a level that are admitted and have a weight (size), those of
// them that are healthy, and those that are ejected.
type tierCounts struct{ size, healthy, ejected int }

// tierHealth counts the members of a pool by level. Not safe for concurrent use.
type tierHealth struct {
	spill     float64
	levels    []level // in the order in which they serve
	groups    map[level]*tierCounts
	available int // healthy members of all levels
}

// countTierHealth counts members by level. The function says which are healthy.
func countTierHealth(members []*backend.Backend, spill float64, healthy func(*backend.Backend) bool) *tierHealth {
	c := &tierHealth{spill: spill, groups: make(map[level]*tierCounts)}
	for _, b := range members {
		if !b.Admitted() || b.EffectiveWeight() <= 0 {
			continue
		}
		l := levelOf(b)
		g := c.groups[l]
		if g == nil {
			g = new(tierCounts)
			c.groups[l] = g
			c.levels = append(c.levels, l)
		}
		g.size++
		switch {
		case b.EjectionState() != outlier.Healthy:
			g.ejected++
		case healthy(b):
			g.healthy++
			c.available++
		}
	}
	slices.SortFunc(c.levels, level.compare)
	return c
}

// size returns the number of members counted.
func (c *tierHealth) size() (size int) {
	for _, g := range c.groups {
		size += g.size
	}
	return size
}

// capacity returns the share of all requests that a level can take. It is above 1 for a level
// that can take more.
func (c *tierHealth) capacity(g *tierCounts) float64 {
	return cmp.Or(c.spill, DefaultSpill) * float64(g.healthy) / float64(g.size)
}

// fullCapacity is the capacity of levels that can take all requests, less a rounding error.
const fullCapacity = 1 - 1e-9

// covered reports whether the other levels can take all requests, and get them, when level l has
// left healthy backends.
func (c *tierHealth) covered(l level, left int) bool {
	capacity := 0.0
	for _, other := range c.levels {
		g := c.groups[other]
		switch {
		case other == l:
			if left > 0 && c.spill == 0 { // levels after l get nothing
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

// panics returns the levels whose health is ignored: those with a healthy share below the
// threshold, unless the other levels can take all requests.
func (c *tierHealth) panics(below float64) map[level]bool {
	panics := make(map[level]bool)
	for l, g := range c.groups {
		if float64(g.healthy)/float64(g.size) < below && !c.covered(l, g.healthy) {
			panics[l] = true
		}
	}
	return panics
}

// allowEjection reports whether a backend may be ejected, and counts the ejection if so. At most
// the share most of a level may be ejected. One backend always may, and all may while other
// levels can take the requests. The last available backend of the pool may not.
func (c *tierHealth) allowEjection(b *backend.Backend, most float64) bool {
	if c.available < 2 {
		return false
	}
	l := levelOf(b)
	g := c.groups[l]
	if g == nil { // it is out or has weight 0: the ejection costs no capacity
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

// share sets the cumulative shares of tiers from their counts. Health is ignored in those that
// panic. The excess of a tier over its capacity goes to the next one. Without spillover, the
// first tier with a healthy backend gets all. If the capacity of all tiers is not enough, each
// gets more than its capacity, in proportion. Backups get requests only if no tier has a healthy
// backend.
func (c *tierHealth) share(tiers []Tier, panics map[level]bool) {
	sum := 0.0
	for i := range tiers {
		t := &tiers[i]
		var n tierCounts
		if g := c.groups[t.level()]; g != nil { // else its first member has just got a weight
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
		case sum == 0: // no backend is healthy
			tiers[i].Share = 1
		case sum < 1:
			tiers[i].Share /= sum
		}
	}
}

// Covered returns a function that reports whether the other tiers could take all requests of a
// backend's tier without healthy backends. The function healthy says which members are. Backups
// count as not healthy.
func (p *Pool) Covered(members []*backend.Backend, healthy func(*backend.Backend) bool) func(*backend.Backend) bool {
	c := countTierHealth(members, p.options.Spill, func(b *backend.Backend) bool { return !b.Backup && healthy(b) })
	return func(b *backend.Backend) bool { return c.covered(levelOf(b), 0) }
}
