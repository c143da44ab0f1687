// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// groupState is the state of a group of the pool, or of the main group. The group of a request is chosen first, and
// then everything else within the group.
type groupState struct {
	name   string // "" for the main group
	queue  slotQueue
	shared backend.Shared

	own    *Members      // guarded by the pool's lock
	health *tiers.Health // of the latest view, updated by ejections since; likewise
}

// setGroups creates the groups. main counts the outcomes of the main group; nil without groups.
func (p *Pool) setGroups(groups group.List, main *rollout.Counts) {
	p.groups = p.groups[:1]
	p.main.shared.SetCounts(main)
	for i, g := range groups {
		s := &groupState{name: g.Name, own: NewMembers(nil)}
		s.queue.pool, s.queue.group, s.queue.rules = p, i+1, p.options.Queue
		s.shared.SetOwner(p, p.options.Outliers)
		s.shared.SetCounts(&g.Rollout.Counts)
		p.groups = append(p.groups, s)
	}
}

// divide sets the members of each group; those of an unknown group are in none. The caller must hold p.mu.
func (p *Pool) divide() {
	all := make([][]*backend.Backend, len(p.groups))
	for _, b := range p.members.All {
		if i := p.GroupOf(b); i != group.Unknown {
			all[i] = append(all[i], b)
		}
	}
	for i, g := range p.groups {
		g.own = NewMembers(all[i])
	}
}

// makeView creates the view of the current members. The caller must hold p.mu, or be the only user.
func (p *Pool) makeView() *View {
	v := p.newView(&p.main, nil)
	for _, g := range p.groups[1:] {
		v.groups = append(v.groups, p.newView(g, v))
	}
	return v
}

// SetFleet sets the fleet whose instances share the limits of members; nil for none. It must be
// called before the pool gets members.
func (p *Pool) SetFleet(f *fleet.Fleet) {
	for _, g := range p.groups {
		g.shared.SetFleet(f)
	}
}

// Groups returns the groups, without the main one.
func (p *Pool) Groups() group.List { return p.options.Groups }

// GroupOf returns the index of the group of a member.
func (p *Pool) GroupOf(b *backend.Backend) int { return p.options.Groups.Index(b.Group) }

// group returns the state of a member's group; the main group's if its group is unknown.
func (p *Pool) group(b *backend.Backend) *groupState { return p.groups[max(p.GroupOf(b), group.Main)] }

// GroupName returns the name of a group; "" for the main one.
func (p *Pool) GroupName(group int) string { return p.groups[group].name }

// GroupFor returns the index of the group that a request without a session goes to. A group
// without a backend to choose gets no requests: the main group serves them.
func (p *Pool) GroupFor(r *http.Request) int {
	i := p.options.Groups.Choose(r)
	if i != group.Main && len(p.View().Of(i).Tiers) == 0 {
		return group.Main
	}
	return i
}

// FallsBack reports whether a request whose attempt on a member has failed is sent again to the main group.
func (p *Pool) FallsBack(b *backend.Backend) bool {
	i := p.GroupOf(b)
	return i > group.Main && p.options.Groups[i-1].Fallback
}

// FallbackPolicy returns when a request that has failed in a group with a fallback is sent to the
// main group; nil if no group has one.
func (p *Pool) FallbackPolicy() *retry.RetryPolicy { return p.options.Fallback }

// InPanic returns the indices of the groups in panic, of those that get requests.
func (p *Pool) InPanic() (groups []int) {
	for i, part := range p.View().EachGroup() {
		if part.Panic && (i == group.Main || p.options.Groups[i-1].Rollout.Open()) {
			groups = append(groups, i)
		}
	}
	return groups
}

// Of returns the part of the view that belongs to a group. The view itself is that of the main group.
func (v *View) Of(i int) *View {
	if i == group.Main {
		return v
	}
	return v.groups[i-1]
}

// EachGroup returns the views of all groups, by index.
func (v *View) EachGroup() []*View { return append([]*View{v}, v.groups...) }
