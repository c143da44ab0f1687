// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package tiers counts the members of a pool by tier, and decides which share of the requests each
// tier gets.
package tiers

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// DefaultSpill is the default overprovisioning factor. A tier serves all requests while at least
// 1/1.4, or 71 %, of its backends are healthy (Envoy's priority levels and overprovisioning
// factor).
const DefaultSpill = 1.4

// Level identifies a tier, or the backups.
type Level struct {
	// Backup reports that the members are the backups, which come after all tiers.
	Backup bool
	// Tier is the number of the tier, 0 for backups.
	Tier int
}

// LevelOf returns the level of a backend.
func LevelOf(b *backend.Backend) Level {
	if b.Backup {
		return Level{Backup: true}
	}
	return Level{Tier: b.Tier}
}

// String returns the number of the tier, or "backup".
func (l Level) String() string {
	if l.Backup {
		return "backup"
	}
	return strconv.Itoa(l.Tier)
}

// Compare compares two levels in the order in which they serve.
func (l Level) Compare(other Level) int {
	if l.Backup != other.Backup {
		if l.Backup {
			return 1
		}
		return -1
	}
	return cmp.Compare(l.Tier, other.Tier)
}

// counts counts the members of a level that are admitted and have a weight (size), those of
// them that are healthy, and those that are ejected.
type counts struct{ size, healthy, ejected int }

// Health counts the members of a pool by level. Not safe for concurrent use.
type Health struct {
	spill     float64
	levels    []Level // in the order in which they serve
	groups    map[Level]*counts
	available int // healthy members of all levels
}

// Count counts members by level. healthy reports which members are healthy.
func Count(members []*backend.Backend, spill float64, healthy func(*backend.Backend) bool) *Health {
	c := &Health{spill: spill, groups: make(map[Level]*counts)}
	for _, b := range members {
		if !b.Admitted() || b.EffectiveWeight() <= 0 {
			continue
		}
		l := LevelOf(b)
		g := c.groups[l]
		if g == nil {
			g = new(counts)
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
	slices.SortFunc(c.levels, Level.Compare)
	return c
}

// CountOpen is Count of the open members, but for those that join, of which nothing is known yet.
func CountOpen(members []*backend.Backend, spill float64) *Health {
	if slices.ContainsFunc(members, (*backend.Backend).Joining) {
		members = slices.DeleteFunc(slices.Clone(members), (*backend.Backend).Joining)
	}
	return Count(members, spill, (*backend.Backend).Open)
}

// Size returns the number of members that are admitted and have a weight.
func (c *Health) Size() (size int) {
	for _, g := range c.groups {
		size += g.size
	}
	return size
}

// Available returns the number of those that are healthy.
func (c *Health) Available() int { return c.available }

// capacity returns the share of all requests that a level can take. It is above 1 for a level
// that can take more.
func (c *Health) capacity(g *counts) float64 {
	return cmp.Or(c.spill, DefaultSpill) * float64(g.healthy) / float64(g.size)
}

// Capacity returns how many times all requests the tiers can take.
func (c *Health) Capacity() (sum float64) {
	for _, l := range c.levels {
		if g := c.groups[l]; g.healthy > 0 {
			if sum += c.capacity(g); c.spill == 0 { // the first of them gets all
				break
			}
		}
	}
	return sum
}

// fullCapacity is the capacity of levels that can take all requests, less a rounding error.
const fullCapacity = 1 - 1e-9

// Covered reports whether the other levels can take all requests, and get them, when level l has
// left healthy backends.
func (c *Health) Covered(l Level, left int) bool {
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
		case other.Backup && (capacity > 0 || left > 0):
			return capacity >= fullCapacity
		}
		if capacity += c.capacity(g); c.spill == 0 {
			break
		}
	}
	return capacity >= fullCapacity
}

// Panics returns the levels whose health is ignored: those with a healthy share below the
// threshold, unless the other levels can take all requests.
func (c *Health) Panics(below float64) map[Level]bool {
	panics := make(map[Level]bool)
	for l, g := range c.groups {
		if float64(g.healthy)/float64(g.size) < below && !c.Covered(l, g.healthy) {
			panics[l] = true
		}
	}
	return panics
}

// AllowEjection reports whether a backend may be ejected, and counts the ejection if so. At most
// the share most of a level may be ejected. One backend always may, and all may while other
// levels can take the requests. The last available backend of the pool may not.
func (c *Health) AllowEjection(b *backend.Backend, most float64) bool {
	if c.available < 2 {
		return false
	}
	l := LevelOf(b)
	g := c.groups[l]
	if g == nil { // it is out or has weight 0: the ejection costs no capacity
		return true
	}
	if g.ejected >= max(1, int(most*float64(g.size)+1e-9)) && !c.Covered(l, 0) {
		return false
	}
	g.ejected++
	if g.healthy > 0 {
		g.healthy--
		c.available--
	}
	return true
}

// Shares returns the cumulative share of each of some levels, in their order: the share of the
// requests that go to it or to one before. Health is ignored in those that panic. The excess of a
// level over its capacity goes to the next one. Without spillover, the first level with a healthy
// backend gets all. If the capacity of all levels is not enough, each gets more than its capacity,
// in proportion. Backups get requests only if no tier has a healthy backend.
func (c *Health) Shares(levels []Level, panics map[Level]bool) []float64 {
	shares, sum := make([]float64, len(levels)), 0.0
	for i, l := range levels {
		var n counts
		if g := c.groups[l]; g != nil { // else its first member has just got a weight
			n = *g
		}
		if panics[l] {
			n.healthy = n.size
		}
		switch {
		case n.healthy == 0, l.Backup && sum > 0:
		case l.Backup || c.spill == 0:
			sum = max(sum, 1)
		default:
			sum += c.capacity(&n)
		}
		shares[i] = min(sum, 1)
	}
	for i := range shares {
		switch {
		case sum == 0: // no backend is healthy
			shares[i] = 1
		case sum < 1:
			shares[i] /= sum
		}
	}
	return shares
}
