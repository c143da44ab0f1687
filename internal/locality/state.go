// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package locality decides which share of the requests stays in the zone of this instance.
package locality

import (
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// Preference configures how requests are kept in a zone. Read-only; a nil Preference keeps none.
type Preference struct {
	// Zone is the zone of this instance.
	Zone string
	// Margin is by how much the utilization of its backends may exceed that of others, from 0 to 1.
	Margin float64
}

// Abroad reports whether a backend is in another zone.
func (r *Preference) Abroad(b *backend.Backend) bool { return r != nil && b.Zone != r.Zone }

// Balances holds the balance of each tier of each group of a pool. It outlives configurations. The zero value keeps all requests at home,
// except the probes. Safe for concurrent use.
type Balances struct {
	mu     sync.Mutex // guards the fields below
	tiers  map[part]*tier
	latest map[*backend.State]seen
	at     time.Duration // of the last update
}

// part is a tier of a group, whose name is empty for the main group.
type part struct {
	group string
	tiers.Level
}

// tier is the balance of a tier, and the share at home in the current view.
type tier struct {
	Balance
	shown float64
}

// seen are the counters of a backend at the last update.
type seen struct {
	begun, answered int64
	spent           time.Duration
}

// visible is the least change of a share that leads to a new view.
const visible = 0.01

// Home returns the share of the requests of a group's tier that stays at home while both sides serve.
func (s *Balances) Home(group string, l tiers.Level) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tiers[part{group, l}]; t != nil {
		return t.shown
	}
	return MaxHome
}

// sides are the samples of both sides of a tier, with the number of backends that report.
type sides struct {
	samples [2]Sample // home, abroad
	reports [2]int
	endless [2]bool // a backend has no limit
}

// Update takes a sample of the members, and reports whether a share has changed.
func (s *Balances) Update(now time.Duration, members []*backend.Backend, rules *Preference) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := now - s.at
	s.at = now
	all, before, present := make(map[part]*sides), s.latest, make(map[part]bool)
	s.latest = make(map[*backend.State]seen, len(members))
	for _, b := range members {
		var c seen
		c.begun, c.answered, c.spent = b.Headers()
		s.latest[b.State] = c
		in := part{b.Group, tiers.LevelOf(b)}
		present[in] = true
		last, known := before[b.State]
		if !known {
			last = c
		}
		if !b.Serving() || b.EffectiveWeight() <= 0 {
			continue
		}
		if all[in] == nil {
			all[in] = new(sides)
		}
		all[in].add(now, b, rules.Abroad(b), c, last)
	}
	if s.tiers == nil {
		s.tiers = make(map[part]*tier)
	}
	maps.DeleteFunc(s.tiers, func(in part, _ *tier) bool { return !present[in] })
	for in, sides := range all {
		t := s.tiers[in]
		if t == nil {
			t = &tier{shown: MaxHome}
			s.tiers[in] = t
		}
		t.Margin = rules.Margin
		home, abroad := sides.of()
		t.Add(took, home, abroad)
		if share := t.Home(); math.Abs(share-t.shown) >= visible || share == MaxHome && t.shown != MaxHome {
			t.shown, changed = share, true
		}
	}
	return changed
}

// add adds a backend to its side.
func (s *sides) add(now time.Duration, b *backend.Backend, abroad bool, c, last seen) {
	side := 0
	if abroad {
		side = 1
	}
	to := &s.samples[side]
	to.Hosts++
	limit := b.Limit()
	to.Limit += limit
	s.endless[side] = s.endless[side] || limit == 0
	to.Begun += c.begun - last.begun
	to.Answered += c.answered - last.answered
	to.Spent += c.spent - last.spent
	to.Waiting += max(0, b.Waiting())
	if utilization, ok := b.Utilization(now); ok {
		to.Utilization += utilization
		s.reports[side]++
	}
}

// of returns the samples of home and of abroad.
func (s *sides) of() (home, abroad Sample) {
	for side := range s.samples {
		to := &s.samples[side]
		if s.endless[side] {
			to.Limit = 0
		}
		if s.reports[side] == 0 {
			to.Utilization = -1
		} else {
			to.Utilization /= float64(s.reports[side])
		}
	}
	return s.samples[0], s.samples[1]
}

// TierReport is the balance of a tier of a group.
type TierReport struct {
	// Group is the name of the group, "" for the main group.
	Group string
	tiers.Level
	// Home is the share of the requests that stays at home while both sides serve.
	Home float64
	// HomeUtilization and AbroadUtilization are what was compared last.
	HomeUtilization, AbroadUtilization float64
}

// Report returns the balance of each tier of a group, in their order.
func (s *Balances) Report(group string) (all []TierReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for in, t := range s.tiers {
		if in.group == group {
			home, abroad := t.Utilizations()
			all = append(all, TierReport{group, in.Level, t.shown, home, abroad})
		}
	}
	slices.SortFunc(all, func(a, b TierReport) int { return a.Compare(b.Level) })
	return all
}
