// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"math"
	weakrand "math/rand/v2"
	"slices"
	"testing"
)

// someHealth returns counts of up to four tiers, and perhaps of backups, and their levels.
func someHealth(spill float64) (*Health, []Level) {
	c := &Health{spill: spill, groups: make(map[Level]*counts)}
	for i := range 1 + weakrand.IntN(4) {
		c.levels = append(c.levels, Level{Tier: i * 3})
	}
	if weakrand.IntN(2) == 0 {
		c.levels = append(c.levels, Level{Backup: true})
	}
	for _, l := range c.levels {
		g := &counts{size: 1 + weakrand.IntN(10)}
		if weakrand.IntN(3) > 0 {
			g.healthy = weakrand.IntN(g.size + 1)
		}
		c.groups[l] = g
		c.available += g.healthy
	}
	return c, c.levels
}

// Shares add up to all requests, no tier gets less than it can take while another
// gets more, and a tier in good health gets all. Backups get all or nothing: all if
// no tier has a healthy backend.
func TestSpill(t *testing.T) {
	for range 5000 {
		spill := []float64{1, 1.4, 3}[weakrand.IntN(3)]
		c, levels := someHealth(spill)
		shares := c.Shares(levels, nil)
		sum := 0.0
		for _, l := range levels {
			if g := c.groups[l]; !l.Backup {
				sum += spill * float64(g.healthy) / float64(g.size)
			}
		}
		before := 0.0
		for i, l := range levels {
			g := c.groups[l]
			share, can := shares[i]-before, spill*float64(g.healthy)/float64(g.size)
			before = shares[i]
			switch {
			case share < -1e-9 || shares[i] > 1+1e-9:
				t.Fatalf("shares %v", shares)
			case l.Backup && (sum > 0 || g.healthy == 0) && share != 0, l.Backup && sum == 0 && g.healthy > 0 && share != 1:
				t.Fatalf("the backups get %.3f, and the tiers can take %.3f", share, sum)
			case l.Backup:
			case sum >= 1 && share > can+1e-9:
				t.Fatalf("tier %d gets %.3f and can take %.3f, of %.3f", i, share, can, sum)
			case sum < 1 && sum > 0 && math.Abs(share-can/sum) > 1e-9:
				t.Fatalf("tier %d gets %.3f, want its part of what all can take, %.3f", i, share, can/sum)
			}
		}
		if math.Abs(before-1) > 1e-9 {
			t.Fatalf("the last share is %v", before)
		}
	}
}

// Where tiers do not spill, the first that has a healthy backend gets all.
func TestSpillOff(t *testing.T) {
	for range 2000 {
		c, levels := someHealth(0)
		shares := c.Shares(levels, nil)
		serves := slices.IndexFunc(levels, func(l Level) bool { return c.groups[l].healthy > 0 })
		draw := weakrand.Float64()
		if got := slices.IndexFunc(shares, func(share float64) bool { return draw < share }); got != max(0, serves) {
			t.Fatalf("tier %d serves of %v with %v, want %d", got, levels, shares, serves)
		}
	}
}

// A level is covered if those that would get its requests, with so many backends left
// on it, are not given more than they can take.
func TestCovered(t *testing.T) {
	for range 5000 {
		spill := []float64{0, 1, 1.4}[weakrand.IntN(3)]
		c, levels := someHealth(spill)
		for _, l := range levels {
			was := *c.groups[l]
			c.groups[l].healthy = 0
			before, want := 0.0, false
			for i, to := range c.Shares(levels, nil) {
				share, can := to-before, c.capacity(c.groups[levels[i]])
				before = to
				if share > 1e-9 {
					want = share <= can+1e-9
					if !want {
						break
					}
				}
			}
			if got := c.Covered(l, 0); got != want {
				t.Fatalf("spill %v, %v without %v: covered %v, want %v", spill, levels, l, got, want)
			}
			*c.groups[l] = was
		}
	}
}
