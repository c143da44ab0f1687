// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"
)

// Instances are the living instances of a fleet. Read-only. A nil *Instances stands for one instance without a
// fleet.
type Instances struct {
	// Generation increases with each instance that joins or leaves.
	Generation uint64
	// All are the instances, by id.
	All []Instance
	// Self is the index of this instance in All.
	Self int
	// Alone reports that the store has not been reached yet, so that other instances are unknown.
	Alone bool

	// places are the places of this instance in the generations that other instances may still
	// have, and last its place in this generation. Empty if Alone.
	places []place
}

// place determines the share of an instance in one generation.
type place struct {
	live int // number of living instances; 0 if the share is 0
	rank int // index of this instance among them, by id; -1 if it gets none of the remainder

	generation uint64
	seen       time.Time
}

// maxPlaces bounds the places of an instance. Older ones are merged.
const maxPlaces = 16

// Share returns the part of a limit of n for this instance: n divided by the number of instances, where salt
// determines which instances get the remainder. The parts of all instances add up to n at most; with more
// instances than n, some get 0. After a change of the instances, a part grows only when all others have
// shrunk; an instance that joins gets 0 until then. An instance that has not reached the store yet gets n.
func (i *Instances) Share(n int, salt uint64) int {
	if i == nil || i.Alone {
		return n
	}
	least := max(n, 0)
	for _, p := range i.places {
		least = min(least, p.share(max(n, 0), salt))
	}
	return least
}

// Share returns the part of a limit for this instance; see [Instances.Share]. The name of the limit determines
// which instances get the remainder. It returns the whole limit for a nil *Fleet.
func (f *Fleet) Share(limit int, name string) int {
	salt := fnv.New64a()
	_, _ = salt.Write([]byte(name))
	return f.Instances().Share(limit, salt.Sum64())
}

// Settled reports whether the shares are the final ones of this generation: none will grow.
func (i *Instances) Settled() bool {
	return i == nil || i.Alone || len(i.places) == 1 && i.places[0].live > 0
}

// Len returns the number of living instances; at least 1.
func (i *Instances) Len() int {
	if i == nil {
		return 1
	}
	return max(1, len(i.All))
}

func (p place) share(n int, salt uint64) int {
	if p.live == 0 {
		return 0
	}
	live := uint64(p.live)
	share, rest := n/p.live, n%p.live
	if p.rank >= 0 && (uint64(p.rank)+salt%live)%live < uint64(rest) {
		share++
	}
	return share
}

// joining is the place of an instance before its first generation.
var joining = place{rank: -1}

// enter adds the place in a new generation, and merges the oldest two places if there are too many.
func enter(places []place, next place) []place {
	places = append(slices.Clip(places), next)
	if len(places) <= maxPlaces {
		return places
	}
	// The merged place has at most the share of each of the two.
	merged := places[1]
	merged.rank = -1
	if places[0].live == 0 || merged.live == 0 {
		merged.live = 0
	} else {
		merged.live = max(merged.live, places[0].live)
	}
	return append([]place{merged}, places[2:]...)
}

// settle removes the places in generations that no instance can still be in: those before the generation that
// all instances have acknowledged, and those that were replaced at least the time to live of an instance ago.
//
// No instance is in a generation before the one that all have acknowledged. So all instances have a place in
// one common generation, and since a share is the smallest of all places, the shares add up to at most the
// limit. Only if an instance has missed that generation, because others followed it at once, can their sum
// slightly exceed it.
func settle(places []place, acknowledged uint64, now time.Time, ttl time.Duration) []place {
	for len(places) > 1 && (places[1].generation <= acknowledged || now.Sub(places[1].seen) >= ttl) {
		places = places[1:]
	}
	return places
}

// byID returns the instances sorted by id, without duplicates. It does not modify all.
func byID(all []Instance) []Instance {
	for i := 1; i < len(all); i++ {
		if all[i-1].ID >= all[i].ID {
			all = slices.Clone(all)
			slices.SortStableFunc(all, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
			return slices.CompactFunc(all, func(a, b Instance) bool { return a.ID == b.ID })
		}
	}
	return all
}

// indexOf returns the index of the instance with this id, in instances sorted by id.
func indexOf(all []Instance, id string) (int, bool) {
	return slices.BinarySearchFunc(all, id, func(i Instance, id string) int { return cmp.Compare(i.ID, id) })
}
