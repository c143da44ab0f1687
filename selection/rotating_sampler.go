// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math/bits"
	weakrand "math/rand/v2"
	"sync/atomic"
)

// rotatingSampler deals backends of equal weight to picks that compare a few of them. The k-th
// hand begins with the k-th backend, round and round; the others lie at distances
// from it that are drawn at random, and stay for one round. So any two meet about as
// often as if all were drawn, but each is dealt exactly as often as any other, and what
// lies together in memory is looked at one after the other: in a large pool that halves
// what a pick costs. Safe for concurrent use.
type rotatingSampler struct {
	backends uint64
	strata   []uint64 // where those of a hand begin and end, as distances
	seed     uint64
	counter  atomic.Uint64
}

// newRotatingSampler returns a deck that begins anywhere: many proxies must not walk in step
// (gRFC A58).
func newRotatingSampler(backends, size int) *rotatingSampler {
	d := &rotatingSampler{backends: uint64(backends), strata: []uint64{1}, seed: weakrand.Uint64()}
	for k := 1; k < size; k++ {
		d.strata = append(d.strata, uint64(1+k*(backends-1)/(size-1)))
	}
	d.counter.Store(weakrand.Uint64() >> 1)
	return d
}

// sample is what a pick is dealt.
type sample struct{ first, round uint64 }

func (d *rotatingSampler) next() sample {
	k := d.counter.Add(1)
	return sample{k % d.backends, d.seed + k/d.backends*maxChoices}
}

// at returns the k-th backend of a hand. They differ: each but the first is from a
// stretch of the others that is its own.
func (d *rotatingSampler) at(h sample, k int) int {
	if k == 0 {
		return int(h.first)
	}
	from, to := d.strata[k-1], d.strata[k]
	distance, _ := bits.Mul64(mix(h.round+uint64(k)), to-from)
	at := h.first + from + distance
	if at >= d.backends {
		at -= d.backends
	}
	return int(at)
}
