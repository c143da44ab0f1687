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
	return divide(members, n, func(b *backend.Backend) int { return set[p.groupOrMain(b)] })
}

// covered returns a function that reports whether the other tiers of a backend's group could take all requests of its
// tier if that had no healthy backends. healthy reports which members are healthy. Backups do not count.
func (p *Pool) covered(members []*backend.Backend, healthy func(*backend.Backend) bool) func(*backend.Backend) bool {
	var of []*tiers.Health
	for _, own := range divide(members, 1+len(p.Groups()), p.groupOrMain) {
		of = append(of, tiers.Count(own, p.Options().Spill, func(b *backend.Backend) bool { return !b.Backup && healthy(b) }))
	}
	return func(b *backend.Backend) bool { return of[p.groupOrMain(b)].Covered(tiers.LevelOf(b), 0) }
}

// groupOrMain returns the index of the group of a member; the main one's if its group is unknown.
func (p *Pool) groupOrMain(b *backend.Backend) int { return max(p.GroupOf(b), group.Main) }

// divide divides members into n sets, in their order.
func divide(members []*backend.Backend, n int, setOf func(*backend.Backend) int) [][]*backend.Backend {
	if n == 1 {
		return [][]*backend.Backend{members}
	}
	all := make([][]*backend.Backend, n)
	for _, b := range members {
		i := setOf(b)
		all[i] = append(all[i], b)
	}
	return all
}
