// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math/bits"
	weakrand "math/rand/v2"
	"sync/atomic"
)

// rotatingSampler draws samples of backends of equal weight. Sample 0 cycles through the backends;
// sample k is at a random offset within stratum k, redrawn each cycle. Any two backends are
// compared about as often as with random draws, but each is sampled exactly as often as any other,
// and consecutive picks visit backends that are adjacent in memory, which makes them cheaper in a
// large pool (docs/decisions/010). It is safe for concurrent use.
type rotatingSampler struct {
	backends uint64
	strata   []uint64 // bounds of the strata of the samples, as offsets
	seed     uint64
	counter  atomic.Uint64
}

// newRotatingSampler returns a sampler with a random start, so that many proxies are not
// synchronized (gRFC A58).
func newRotatingSampler(backends, size int) *rotatingSampler {
	d := &rotatingSampler{backends: uint64(backends), strata: []uint64{1}, seed: weakrand.Uint64()}
	for k := 1; k < size; k++ {
		d.strata = append(d.strata, uint64(1+k*(backends-1)/(size-1)))
	}
	d.counter.Store(weakrand.Uint64() >> 1)
	return d
}

// sample is the first backend of a pick, and the cycle that determines the others.
type sample struct{ first, round uint64 }

func (d *rotatingSampler) next() sample {
	k := d.counter.Add(1)
	return sample{k % d.backends, d.seed + k/d.backends*maxChoices}
}

// at returns the k-th backend of a sample. They are distinct, since each except the first is from a
// different stratum.
func (d *rotatingSampler) at(h sample, k int) int {
	if k == 0 {
		return int(h.first)
	}
	from, to := d.strata[k-1], d.strata[k]
	distance, _ := bits.Mul64(mix(h.round+uint64(k)), to-from)
	index := h.first + from + distance
	if index >= d.backends {
		index -= d.backends
	}
	return int(index)
}
