// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// hashTable maps hashes to backends. It is read-only. It depends only on the ids and weights,
// so it is the same on every instance, after every restart and for every order of the backends.
type hashTable interface {
	// start returns the position of a hash.
	start(h uint64) uint64
	// owner returns the index of the backend at a position.
	owner(pos uint64) int
	// next returns the position to try when the owner of pos is not usable.
	next(pos uint64) uint64
}

// member is a backend in a hash table.
type member struct {
	id     string
	weight float64 // above 0
	index  int32   // among the candidates
}

// members returns the backends with a weight above 0, sorted by id.
func members(ids []string, weights []float64) []member {
	all := make([]member, 0, len(ids))
	for i, id := range ids {
		if weights[i] > 0 {
			all = append(all, member{id, weights[i], int32(i)})
		}
	}
	slices.SortStableFunc(all, func(a, b member) int { return cmp.Compare(a.id, b.id) })
	return all
}

// totals returns the sum of the weights and the largest weight.
func totals(all []member) (sum, most float64) {
	for _, m := range all {
		sum, most = sum+m.weight, max(most, m.weight)
	}
	return sum, most
}

// slots is a hash table with a fixed number of slots, each with an owner. A hash maps to one
// slot; the next position is that of a rehash.
type slots []int32

func (s slots) start(h uint64) uint64 { return h }

func (s slots) owner(pos uint64) int {
	i, _ := bits.Mul64(pos, uint64(len(s)))
	return int(s[i])
}

func (s slots) next(pos uint64) uint64 { return mix(pos) }

// mix returns a hash of x (SplitMix64, Steele et al. 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// maglevPermutation is the order in which a backend visits all slots: from an offset, in steps
// of a fixed width. With a prime number of slots it visits each once.
type maglevPermutation struct{ at, skip, size uint32 }

// newMaglevPermutation returns the permutation of Maglev, with the hashes that Envoy uses.
func newMaglevPermutation(id string, size int) maglevPermutation {
	var d xxhash.Digest
	d.ResetWithSeed(1)
	_, _ = d.WriteString(id)
	return maglevPermutation{
		at:   uint32(xxhash.Sum64String(id) % uint64(size)),
		skip: uint32(d.Sum64()%uint64(size-1)) + 1,
		size: uint32(size),
	}
}

// step returns the next slot.
func (w *maglevPermutation) step() uint32 {
	slot := w.at
	if w.at += w.skip; w.at >= w.size {
		w.at -= w.size
	}
	return slot
}
