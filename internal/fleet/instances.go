// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"
)

// Instances are the living instances. Read-only. A nil *Instances is that of a configuration
// without a fleet: an instance alone.
type Instances struct {
	// Generation increases with each instance that joins or leaves.
	Generation uint64
	// All are the instances, by id.
	All []Instance
	// Self is the index of this instance in All.
	Self int
	// Alone says that the store has not been reached yet, so that the others are not known.
	Alone bool

	// places are the place of this instance in this generation, last, and before it those in
	// earlier generations that other instances may still be in. Empty if Alone.
	places []place
}

// place determines the share of an instance in one generation.
type place struct {
	live int // number of instances; 0 for a share of 0
	rank int // among them by id; -1 for a share without any of the remainder

	generation uint64
	seen       time.Time
}

// maxPlaces bounds the earlier generations that are told apart.
const maxPlaces = 16

// Share returns this instance's part of a limit of the fleet: n divided by the number of
// instances, where the remainder goes to instances that depend on salt. The parts of all instances
// add up to n at most; with more instances than n, some have 0. After a change, a part that grows
// does so once all others have shrunk. An instance that joins has 0 until then. An instance that
// has not reached the store yet has n.
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

// Share returns this instance's part of a limit of the fleet, see [Instances.Share]. The remainder of
// the division goes to other instances for each name. The methods of a nil *Fleet return the limit.
func (f *Fleet) Share(limit int, name string) int {
	salt := fnv.New64a()
	_, _ = salt.Write([]byte(name))
	return f.Instances().Share(limit, salt.Sum64())
}

// Settled reports whether shares are those of this generation, and none waits to grow.
func (i *Instances) Settled() bool {
	return i == nil || i.Alone || len(i.places) == 1 && i.places[0].live > 0
}

// Len returns the number of living instances, at least 1.
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

// enter returns the places after a change to another generation.
func enter(places []place, next place) []place {
	places = append(slices.Clip(places), next)
	if len(places) <= maxPlaces {
		return places
	}
	// The oldest two become one whose share is at most that of each.
	merged := places[1]
	merged.rank = -1
	if places[0].live == 0 || merged.live == 0 {
		merged.live = 0
	} else {
		merged.live = max(merged.live, places[0].live)
	}
	return append([]place{merged}, places[2:]...)
}

// settle returns the places in generations that another instance may still be in: not before the
// one that all have acknowledged, and none that another has followed for as long as patience.
//
// The generation that all have acknowledged is at most that which any is in. So there is one that
// all instances have among their places, and the parts add up to at most that one's. Only where an
// instance has missed that generation, since others followed at once, may they be a little more.
func settle(places []place, acknowledged uint64, now time.Time, patience time.Duration) []place {
	for len(places) > 1 && (places[1].generation <= acknowledged || now.Sub(places[1].seen) >= patience) {
		places = places[1:]
	}
	return places
}

// byID returns the instances sorted by id, each once. It does not change all.
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

// indexOf returns the index of an instance in sorted instances.
func indexOf(all []Instance, id string) (int, bool) {
	return slices.BinarySearchFunc(all, id, func(i Instance, id string) int { return cmp.Compare(i.ID, id) })
}
