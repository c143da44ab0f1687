// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/subset"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// subsetSizes bounds subset.
var subsetSizes = caddyfileutil.Ints{Min: 1, Max: math.MaxInt32}

// subsetting restricts a pool to a subset of its backends, which depends on the instances that
// live. Its fields are read-only.
type subsetting struct {
	size     int    // backends of a tier, 0 for all
	instance string // the id of this instance without a fleet
	fleet    *fleet.Fleet

	changes periodic.Task[*Pool] // chooses again when an instance has joined or left
	unwatch func()               // nil while the pool does not run; for start and stop
}

func (s *subsetting) provision(f *fleet.Fleet, size int) error {
	if s.size, s.fleet = size, f; size == 0 {
		return nil
	}
	id, err := caddy.InstanceID()
	if err != nil {
		return fmt.Errorf("subset needs the id of this instance of Caddy: %w", err)
	}
	s.instance = id.String()
	s.changes.Run = func(_ context.Context, p *Pool) (afterwards func()) {
		p.reconcile()
		return nil
	}
	s.changes.Interval = func(*Pool) time.Duration { return maxIdle }
	s.changes.First = s.changes.Interval
	return nil
}

// start recomputes the subset whenever the instances of the fleet change.
func (s *subsetting) start(p *Pool) {
	if s.size == 0 || s.fleet == nil {
		return
	}
	s.changes.Start(p)
	s.unwatch = s.fleet.Watch(func(*fleet.Instances) { s.changes.Wake() })
	s.changes.Wake() // for what has changed since the pool was provisioned
}

// stop undoes start.
func (s *subsetting) stop(p *Pool) {
	if s.unwatch != nil {
		s.unwatch()
		s.changes.Stop(p)
		s.unwatch = nil
	}
}

// chooser returns the function that chooses a subset of ids: by the rank of this instance among the living
// instances, or by its id while these are unknown. With zones, the rank is among the instances of the same zone,
// since instances of other zones choose from other backends.
func (s *subsetting) chooser(zones bool) func(ids []string) []bool {
	instance := s.instance
	if s.fleet != nil {
		i := s.fleet.Instances()
		if i.Generation > 0 && !i.Alone {
			rank, all := rankOf(i, zones)
			return func(ids []string) []bool { return subset.Ranked(ids, s.size, rank, all) }
		}
		instance = i.All[i.Self].ID
	}
	return func(ids []string) []bool { return subset.Rendezvous(ids, s.size, instance) }
}

// rankOf returns the rank of this instance among the living instances, or among those of its zone, and their
// number.
func rankOf(i *fleet.Instances, zones bool) (rank, all int) {
	for n := range i.All {
		if zones && i.All[n].Zone != i.All[i.Self].Zone {
			continue
		}
		if all++; n < i.Self {
			rank++
		}
	}
	return rank, all
}

// chooseSubset marks the members that this instance does not use. Each tier of a group, and each side of a
// tier with zones, has a subset of its own. The caller must hold p.mu.
func (p *Pool) chooseSubset() {
	if p.subsets.size == 0 {
		return
	}
	type part struct {
		tiers.Level
		abroad bool
		group  string
	}
	zone := p.Options().Locality
	parts := make(map[part][]*member)
	for _, m := range p.order {
		in := part{tiers.LevelOf(m.Backend), zone.Abroad(m.Backend), m.Group}
		parts[in] = append(parts[in], m)
	}
	choose := p.subsets.chooser(zone != nil)
	for _, members := range parts {
		ids := make([]string, len(members))
		for i, m := range members {
			ids[i] = m.ID
		}
		for i, in := range choose(ids) {
			members[i].SetUnused(!in)
		}
	}
}

// startUsed starts the probes of the members that this instance uses, and stops those of the others. The caller
// must hold p.mu.
func (p *Pool) startUsed() {
	var next []*member
	for _, m := range p.order {
		switch {
		case m.Unused():
			m.stop()
		case !m.started:
			next = append(next, m)
		}
	}
	startAll(next)
}
