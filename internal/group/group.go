// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package group chooses the group of a pool for a request: by the matchers of the groups, or by the shares of the groups
// and the key of the request.
package group

import (
	weakrand "math/rand/v2"
	"net/http"

	"github.com/cespare/xxhash/v2"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// Main is the index of the main group: the members that belong to no group. The indices of the other groups follow, in
// their order. Unknown is the index for a member whose group is not configured, which gets no requests.
const (
	Main    = 0
	Unknown = -1
)

// MainName is the name of the main group.
const MainName = "main"

// Group is a set of members with a share of the requests. Read-only, but for Rollout.
type Group struct {
	// Name is unique in the pool, and not empty.
	Name string
	// Key sends all requests with the same key to the same group; nil for random groups. Requests
	// without the key go to random groups.
	Key *httpx.RequestKey
	// Match selects requests that go to the group whatever its share; nil for none.
	Match func(*http.Request) bool
	// Fallback sends requests whose attempt on the group has failed to the main group.
	Fallback bool
	// Plan is the configuration of the rollout.
	Plan *rollout.Plan
	// Rollout is the state of the rollout, with the current share.
	Rollout *rollout.Rollout
}

// List are the groups of a pool, without the main one. Read-only.
type List []*Group

// Find returns the group of that name, or nil.
func (l List) Find(name string) *Group {
	for _, g := range l {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// Index returns the index of the group of members with this name; "" is the main group.
func (l List) Index(name string) int {
	if name == "" {
		return Main
	}
	for i, g := range l {
		if g.Name == name {
			return i + 1
		}
	}
	return Unknown
}

// Choose returns the index of the group that a request without a session belongs to. It does not
// allocate.
func (l List) Choose(r *http.Request) int {
	if i := l.matching(r); i != Main {
		return i
	}
	taken := 0.0
	for i, g := range l {
		share := g.Rollout.Share()
		if share > 0 && g.place(r) < rollout.Threshold(share, taken) {
			return i + 1
		}
		taken += share
	}
	return Main
}

// matching returns the first group whose matchers select a request, or the main one.
func (l List) matching(r *http.Request) int {
	for i, g := range l {
		if g.Match != nil && g.Rollout.Open() && g.Match(r) {
			return i + 1
		}
	}
	return Main
}

// place returns the number to compare with the share of the group; see [rollout.Draw].
func (g *Group) place(r *http.Request) float64 {
	if g.Key != nil {
		if hash, ok := g.Key.Hash(r); ok {
			return rollout.Draw(hash, xxhash.Sum64String(g.Name))
		}
	}
	return weakrand.Float64()
}

// MayStay reports whether a request may stay in the group of its session: the group has a share or its matchers select
// the request, and no matchers of another group do.
func (l List) MayStay(r *http.Request, group int) bool {
	switch i := l.matching(r); {
	case group == Unknown:
		return false
	case i != Main:
		return i == group
	}
	return group == Main || l[group-1].Rollout.Share() > 0
}

// Shares returns the share of the requests of each group, by index.
func (l List) Shares() []float64 {
	shares := []float64{1}
	for _, g := range l {
		share := min(g.Rollout.Share(), shares[Main])
		shares[Main] -= share
		shares = append(shares, share)
	}
	return shares
}
