// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math/bits"
	weakrand "math/rand/v2"
	"sync/atomic"
)

// deck deals backends of equal weight to picks that compare a few of them. The k-th
// hand begins with the k-th backend, round and round; the others lie at distances
// from it that are drawn at random, and stay for one round. So any two meet about as
// often as if all were drawn, but each is dealt exactly as often as any other, and what
// lies together in memory is looked at one after the other: in a large pool that halves
// what a pick costs. Safe for concurrent use.
type deck struct {
	backends  uint64
	stretches []uint64 // where those of a hand begin and end, as distances
	seed      uint64
	next      atomic.Uint64
}

// newDeck returns a deck that begins anywhere: many proxies must not walk in step
// (gRFC A58).
func newDeck(backends, size int) *deck {
	d := &deck{backends: uint64(backends), stretches: []uint64{1}, seed: weakrand.Uint64()}
	for k := 1; k < size; k++ {
		d.stretches = append(d.stretches, uint64(1+k*(backends-1)/(size-1)))
	}
	d.next.Store(weakrand.Uint64() >> 1)
	return d
}

// hand is what a pick is dealt.
type hand struct{ first, round uint64 }

func (d *deck) deal() hand {
	k := d.next.Add(1)
	return hand{k % d.backends, d.seed + k/d.backends*maxChoices}
}

// at returns the k-th backend of a hand. They differ: each but the first is from a
// stretch of the others that is its own.
func (d *deck) at(h hand, k int) int {
	if k == 0 {
		return int(h.first)
	}
	from, to := d.stretches[k-1], d.stretches[k]
	distance, _ := bits.Mul64(mix(h.round+uint64(k)), to-from)
	at := h.first + from + distance
	if at >= d.backends {
		at -= d.backends
	}
	return int(at)
}
