// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"iter"
	weakrand "math/rand/v2"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// Tier is one tier of a view. Its slices are read-only. Backends and Weights have the same
// length.
type Tier struct {
	// Number is the tier's number; lower ones serve first.
	Number int
	// Backup reports that the backends are the backups, which come after all tiers.
	Backup bool
	// Abroad reports that the backends are in other zones.
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

// Build returns the tiers of the backends that are acceptable and have a weight, lowest number first, and the
// backups last. If lenient is set, ejections are ignored. abroad reports which backends are in other zones.
func Build(serving []*backend.Backend, lenient bool, abroad, acceptable func(*backend.Backend) bool) (all []Tier) {
	type part struct {
		Level
		abroad bool
	}
	parts := make(map[part]*Tier)
	for _, b := range serving {
		f := b.Factors()
		weight := f.Weight()
		if weight <= 0 || !acceptable(b) {
			continue
		}
		in := part{LevelOf(b), abroad(b)}
		t := parts[in]
		if t == nil {
			t = &Tier{Number: b.Tier, Backup: b.Backup, Abroad: in.abroad}
			parts[in] = t
		}
		if b.EjectionState() == outlier.HalfOpen && !lenient {
			t.HalfOpen = append(t.HalfOpen, b)
		}
		if f.SlowStart < 1 {
			t.Ramping = append(t.Ramping, b)
		}
		t.Backends = append(t.Backends, b)
		t.Weights = append(t.Weights, weight)
		t.ramp(f.SlowStart)
	}
	for _, t := range parts {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Tier) int {
		switch order := a.Level().Compare(b.Level()); {
		case order != 0 || a.Abroad == b.Abroad:
			return order
		case a.Abroad:
			return 1
		}
		return -1
	})
	return all
}

// Level returns the level of the tier.
func (t *Tier) Level() Level {
	if t.Backup {
		return Level{Backup: true}
	}
	return Level{Tier: t.Number}
}

// SetShares sets the shares of the tiers and, of a tier in two parts, those of the parts, of which home
// returns that at home.
func (c *Health) SetShares(all []Tier, panics map[Level]bool, home func(Level) float64) {
	var levels []Level
	for i := range all {
		levels = append(levels, all[i].Level())
	}
	levels = slices.Compact(levels)
	before := 0.0
	for i, share := range c.Shares(levels, panics) {
		for n := range all {
			t := &all[n]
			if t.Level() != levels[i] {
				continue
			}
			t.Share = share
			switch {
			case n+1 < len(all) && all[n+1].Level() == levels[i]:
				t.Home = homeShare(t, &all[n+1], panics[levels[i]], home)
				t.Share = before + (share-before)*t.Home
			case n > 0 && all[n-1].Level() == levels[i]:
				t.Home = all[n-1].Home
			case !t.Abroad:
				t.Home = 1
			}
		}
		before = share
	}
}

// homeShare returns the share of a tier's requests that stay at home.
func homeShare(home, abroad *Tier, panics bool, share func(Level) float64) float64 {
	serves := func(t *Tier) bool { return panics || slices.ContainsFunc(t.Backends, (*backend.Backend).Serving) }
	switch {
	case !serves(abroad):
		return 1
	case !serves(home):
		return 0
	}
	return share(home.Level())
}

// MaxTrials is the most half-open backends that a request considers.
const MaxTrials = 4

// EachHalfOpen yields up to MaxTrials of the half-open backends, from a random start.
func (t *Tier) EachHalfOpen() iter.Seq[*backend.Backend] {
	return func(yield func(*backend.Backend) bool) {
		if len(t.HalfOpen) == 0 {
			return
		}
		first := weakrand.IntN(len(t.HalfOpen))
		for i := range min(len(t.HalfOpen), MaxTrials) {
			b := t.HalfOpen[(first+i)%len(t.HalfOpen)]
			// The view may be older than the end of the trial.
			if b.EjectionState() == outlier.HalfOpen && b.Eligible() && !yield(b) {
				return
			}
		}
	}
}

// EachTrial yields the half-open backends of which a request may be the trial. A request with a key that decides its
// backend (keyed) finds that backend by itself. It may be the trial of another one in a tier that gets no requests, and
// of one whose trial has been due for longer than overdue: that may have few keys or, abroad, none of those in use.
func EachTrial(all []Tier, keyed bool, overdue time.Duration) iter.Seq[*backend.Backend] {
	return func(yield func(*backend.Backend) bool) {
		now := clock.Now()
		for i := range all {
			own := keyed && getsRequests(all, i)
			for b := range all[i].EachHalfOpen() {
				if own && !b.TrialOverdue(now, overdue) {
					continue
				}
				if !yield(b) {
					return
				}
			}
		}
	}
}

// getsRequests reports whether tier i has a share of the requests while the tiers before it can serve.
func getsRequests(all []Tier, i int) bool {
	return i == 0 && all[0].Share > 0 || i > 0 && all[i].Share > all[i-1].Share
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
