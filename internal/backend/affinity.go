// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "sync/atomic"

// Affinity is the kind of binding between an attempt and its backend. Unbound attempts are a
// random sample of the requests of the pool, so backends can be compared by them. Bound attempts
// of a key or a session are not comparable between backends.
type Affinity int8

// Affinities. Values from 1 to [KeyGroups] are groups of keys, by the hash of the key.
const (
	Unbound      Affinity = 0
	SessionBound Affinity = -1
	KeyGroups             = 64
)

// KeyBound returns the affinity of a key, from its hash in [0, 1].
func KeyBound(hash float64) Affinity {
	return 1 + Affinity(min(max(int(hash*KeyGroups), 0), KeyGroups-1))
}

// boundCounters counts the attempts that are bound to a backend. Safe for concurrent use.
type boundCounters struct {
	begun, ended, quick, timedOut atomic.Int64
	groups, quickGroups           atomic.Uint64 // bit set of key groups since the last swap
}

// note sets the bit of the group of a key. Other affinities have no bit.
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

// SwapKeyGroups returns the key groups in which an attempt began, and those in which one was
// answered in time, since the last call. Only one goroutine may call it.
func (c *Counters) SwapKeyGroups() (begun, quick uint64) {
	return swapZero(&c.bound.groups), swapZero(&c.bound.quickGroups)
}

func swapZero(word *atomic.Uint64) uint64 {
	if word.Load() == 0 {
		return 0
	}
	return word.Swap(0)
}
