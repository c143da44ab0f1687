// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// rendezvousBits is the number of slots as a power of two.
const rendezvousBits = 18

// permutation is a backend's own order of all slots, as random as a hash: each step of
// slot can be undone, so no slot comes twice. Maglev's walks would not do. Two
// of them may be in step for long, and who is behind then loses to the other.
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

// slot returns the slot at place k.
func (d *permutation) slot(k int) uint32 {
	x, mask := uint32(k), uint32(1)<<d.bits-1
	for i := range d.add {
		x = (x + d.add[i]) * d.times[i] & mask
		x ^= x >> (d.bits / 2)
	}
	return x
}

// newRendezvous gives each slot to the backend with the highest random weight
// (Thaler and Ravishankar 1998), in the form that honours weights: with u the
// backend's hash of the slot, from 0 to 1, the least -ln(u)/weight wins.
//
// To compare all backends for each slot would cost slots x backends. But a
// backend need not draw its u at random: it may deal the values 1/size, 2/size,
// ... out to the slots in an order of its own. Then the slots that it might win
// are the first in its order, and all backends together look at no more than
// about size x ln(size) of them, whatever their number; as a gift, shares vary
// less than with draws. What a backend bids for a slot still depends on its own
// id and weight only, so a backend that leaves gives up its slots and no other
// moves; the same for one that joins or changes its weight.
func newRendezvous(all []member, bits int) slots {
	size := 1 << bits
	table, bids := make(slots, size), make([]float64, size)
	for i := range table {
		table[i], bids[i] = -1, math.Inf(1)
	}
	ranks := make([]int32, size) // of the owners, in all
	deals, taken := make([]permutation, len(all)), make([]int, len(all))
	for i, m := range all {
		deals[i] = newPermutation(m.id, bits)
	}
	sum, most := totals(all)
	// Bids are opened from the lowest up. What is won below the limit stays
	// so. At this one a third of a slot is left on average.
	limit := (math.Log(float64(size)) + 1) / sum
	// -ln(u) by place in a backend's order
	cost := make([]float64, 0, int(float64(size)*-math.Expm1(-limit*most))+1)
	for left := size; left > 0; limit += 2 / sum {
		for i := range all {
			m, d, k := &all[i], &deals[i], taken[i]
			for ; k < size; k++ {
				if k == len(cost) {
					cost = append(cost, -math.Log((float64(size-k)-0.5)/float64(size)))
				}
				bid := cost[k] / m.weight
				if bid > limit {
					break
				}
				at := d.slot(k)
				if bid > bids[at] || bid == bids[at] && !wins(m.id, all[ranks[at]].id, at) {
					continue
				}
				if table[at] < 0 {
					left--
				}
				table[at], bids[at], ranks[at] = m.index, bid, int32(i)
			}
			taken[i] = k
		}
	}
	return table
}

// wins decides between two equal bids, now for the one and now for the other.
func wins(id, other string, slot uint32) bool {
	return mix(xxhash.Sum64String(id)^uint64(slot)) > mix(xxhash.Sum64String(other)^uint64(slot))
}
