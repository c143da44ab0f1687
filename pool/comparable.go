// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// comparable returns the members in sets that get requests of the same kind. A group whose matchers select requests
// gets other ones than the rest of the pool. The number of sets does not depend on the members.
func (p *Pool) comparable(v *pool.View) [][]*backend.Backend {
	all := [][]*backend.Backend{v.Own.All}
	for i, g := range p.Groups() {
		if own := v.Of(i + 1).Own.All; g.Match == nil {
			all[0] = append(slices.Clip(all[0]), own...)
		} else {
			all = append(all, own)
		}
	}
	return all
}

// covered returns, for each group, a function that reports whether others could take all requests of a backend's tier if
// that had no healthy backends: the other tiers of the group or, if it could take the requests of all groups besides its
// own, the main group. healthy reports which members are healthy. Backups do not count.
func (p *Pool) covered(v *pool.View, healthy func(*backend.Backend) bool) (by []func(*backend.Backend) bool) {
	capacity := p.Groups().Shares()[group.Main] // of the main group, as a share of all requests
	for i, part := range v.EachGroup() {
		own := tiers.Count(part.Own.Used, p.Options().Spill, func(b *backend.Backend) bool { return !b.Backup && healthy(b) })
		if i == group.Main {
			capacity *= own.Capacity()
		}
		by = append(by, func(b *backend.Backend) bool {
			return i != group.Main && capacity >= 1 || own.Covered(tiers.LevelOf(b), 0)
		})
	}
	return by
}
