// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// comparable divides members into sets that get requests of the same kind. A group whose matchers select requests gets
// other ones than the rest of the pool. The number of sets does not depend on the members.
func (p *Pool) comparable(members []*backend.Backend) [][]*backend.Backend {
	set, n := make([]int, 1+len(p.Groups())), 1
	for i, g := range p.Groups() {
		if g.Match != nil {
			set[i+1] = n
			n++
		}
	}
	if n == 1 {
		return [][]*backend.Backend{members}
	}
	all := make([][]*backend.Backend, n)
	for _, b := range members {
		i := set[max(p.GroupOf(b), group.Main)]
		all[i] = append(all[i], b)
	}
	return all
}

// covered returns a function that reports whether the other tiers of a backend's group could take all requests of its
// tier if that had no healthy backends. healthy reports which members are healthy. Backups do not count.
func (p *Pool) covered(members []*backend.Backend, healthy func(*backend.Backend) bool) func(*backend.Backend) bool {
	own, of := make([][]*backend.Backend, 1+len(p.Groups())), make([]*tiers.Health, 1+len(p.Groups()))
	for _, b := range members {
		i := max(p.GroupOf(b), group.Main)
		own[i] = append(own[i], b)
	}
	for i := range own {
		of[i] = tiers.Count(own[i], p.Options().Spill, func(b *backend.Backend) bool { return !b.Backup && healthy(b) })
	}
	return func(b *backend.Backend) bool { return of[max(p.GroupOf(b), group.Main)].Covered(tiers.LevelOf(b), 0) }
}
