// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "sync/atomic"

// Affinity is what binds an attempt to its backend. Where nothing does, a backend has
// a random sample of the requests of its pool, and can be compared with its peers.
// What a key or a session brings to one backend is like nothing that the others get.
type Affinity int8

// The affinities. Those from 1 to [KeyGroups] are the groups of keys that the hash of a
// key tells apart.
const (
	Unbound      Affinity = 0
	SessionBound Affinity = -1
	KeyGroups             = 64
)

// KeyBound returns the affinity of a key, told by a hash from 0 to 1.
func KeyBound(hash float64) Affinity {
	return 1 + Affinity(min(max(int(hash*KeyGroups), 0), KeyGroups-1))
}

// boundCounters counts the attempts that are bound to a backend. Safe for concurrent use.
type boundCounters struct {
	begun, ended, quick, timedOut atomic.Int64
	groups, quickGroups           atomic.Uint64 // of keys, a bit each, since they were last taken
}

// note sets the bit of a key's group, if it is a key.
func note(word *atomic.Uint64, a Affinity) {
	if a <= 0 {
		return
	}
	if bit := uint64(1) << (a - 1); word.Load()&bit == 0 {
		word.Or(bit)
	}
}

func (b *boundCounters) begin(a Affinity) {
	if a != Unbound {
		b.begun.Add(1)
		note(&b.groups, a)
	}
}

func (b *boundCounters) answer(a Affinity, slow bool) {
	switch {
	case a == Unbound:
		return
	case !slow:
		b.quick.Add(1)
		note(&b.quickGroups, a)
	}
	b.ended.Add(1)
}

// SwapKeyGroups returns the groups of keys that had an attempt begin, or answered in time,
// since this was last asked. It is for one goroutine.
func (c *Counters) SwapKeyGroups() (begun, quick uint64) {
	return swapZero(&c.bound.groups), swapZero(&c.bound.quickGroups)
}

func swapZero(word *atomic.Uint64) uint64 {
	if word.Load() == 0 {
		return 0
	}
	return word.Swap(0)
}
