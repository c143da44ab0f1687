// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// rendezvousBits is the number of slots as a power of two.
const rendezvousBits = 18

// permutation is the order in which a backend visits all slots, as random as a hash. Each step of
// slot is invertible, so no slot is visited twice. Maglev's permutations do not work here: two of
// them may visit the same slots in the same order for long, and the later one then loses all of
// these.
type permutation struct {
	add, times [3]uint32 // the factors are odd
	bits       int
}

func newPermutation(id string, bits int) (d permutation) {
	d.bits = bits
	h := xxhash.Sum64String(id)
	for i := range d.add {
		h = mix(h)
		d.add[i], d.times[i] = uint32(h>>32), uint32(h)|1
	}
	return d
}

// slot returns the slot at position k.
func (d *permutation) slot(k int) uint32 {
	x, mask := uint32(k), uint32(1)<<d.bits-1
	for i := range d.add {
		x = (x + d.add[i]) * d.times[i] & mask
		x ^= x >> (d.bits / 2)
	}
	return x
}

// newRendezvous assigns each slot to the backend with the highest random weight (Thaler and
// Ravishankar 1998), in the weighted form: with u the backend's hash of the slot, from 0 to 1,
// the lowest -ln(u)/weight wins.
//
// A comparison of all backends for each slot would cost slots x backends. But a backend need not
// draw u at random: it may assign the values 1/size, 2/size, ... to the slots in its own
// permutation. Then the slots that it might win are the first of its permutation, and all backends
// together visit no more than about size x ln(size) slots, whatever their number. Shares also vary
// less than with random draws. The bid of a backend for a slot still depends only on its own id and
// weight, so a backend that leaves gives up its slots and no other slot moves; the same holds for a
// backend that joins or changes its weight.
func newRendezvous(all []member, bits int) slots {
	size := 1 << bits
	table, bids := make(slots, size), make([]float64, size)
	for i := range table {
		table[i], bids[i] = -1, math.Inf(1)
	}
	ranks := make([]int32, size) // index in all of each slot's owner
	orders, taken := make([]permutation, len(all)), make([]int, len(all))
	for i, m := range all {
		orders[i] = newPermutation(m.id, bits)
	}
	sum, most := totals(all)
	// Bids are compared from the lowest up. A slot that is won below the limit stays with its
	// winner. At this first limit, a third of a slot is left on average.
	limit := (math.Log(float64(size)) + 1) / sum
	// -ln(u) by position in a backend's permutation
	cost := make([]float64, 0, int(float64(size)*-math.Expm1(-limit*most))+1)
	for left := size; left > 0; limit += 2 / sum {
		for i := range all {
			m, d, k := &all[i], &orders[i], taken[i]
			for ; k < size; k++ {
				if k == len(cost) {
					cost = append(cost, -math.Log((float64(size-k)-0.5)/float64(size)))
				}
				bid := cost[k] / m.weight
				if bid > limit {
					break
				}
				slot := d.slot(k)
				if bid > bids[slot] || bid == bids[slot] && !wins(m.id, all[ranks[slot]].id, slot) {
					continue
				}
				if table[slot] < 0 {
					left--
				}
				table[slot], bids[slot], ranks[slot] = m.index, bid, int32(i)
			}
			taken[i] = k
		}
	}
	return table
}

// wins decides between two equal bids, by a hash of the id and the slot.
func wins(id, other string, slot uint32) bool {
	return mix(xxhash.Sum64String(id)^uint64(slot)) > mix(xxhash.Sum64String(other)^uint64(slot))
}
