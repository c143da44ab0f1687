// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import "math"

// The sizes of Maglev's tables are prime.
const (
	maglevSize = 65537
	maglevBig  = 655373
	maglevMany = 650 // with more backends the table has the larger size
)

// maglevSizeFor returns the number of slots for n backends.
func maglevSizeFor(n int) int {
	if n > maglevMany {
		return maglevBig
	}
	return maglevSize
}

// newMaglev builds a table as Maglev does (Eisenbud et al. 2016, 3.4).
func newMaglev(all []member, size int) slots {
	walks := make([]maglevPermutation, len(all))
	for i, m := range all {
		walks[i] = newMaglevPermutation(m.id, size)
	}
	return fillMaglev(all, walks, size)
}

// fillMaglev lets backends take turns; in its turn, a backend takes the first free slot of its
// permutation. The backend with the highest weight has a turn in each round, others when their
// weight has added up to as much (Envoy's rule): turn j is in round j x most / weight. Each
// round has a queue of the backends that have a turn, so the cost is proportional to the number
// of slots, whatever the number of backends.
func fillMaglev(all []member, walks []maglevPermutation, size int) slots {
	table := make(slots, size)
	for i := range table {
		table[i] = -1
	}
	_, most := totals(all)
	last := make([]int32, size+2) // last element of the queue of each round; a queue is complete when its round begins
	for i := range last {
		last[i] = -1
	}
	next := make([]int32, len(all)) // circular queue: after the last element comes the first
	push := func(round int, i int32) {
		if l := last[round]; l < 0 {
			next[i] = i
		} else {
			next[i], next[l] = next[l], i
		}
		last[round] = i
	}
	for i := range all {
		push(1, int32(i))
	}
	turns := make([]int, len(all)) // number of turns taken
	left := size
	for round := 1; left > 0; round++ {
		end := last[round]
		if end < 0 {
			continue
		}
		i, after := end, next[end]
		for done := false; !done && left > 0; {
			i, after = after, next[after]
			done = i == end
			slot := walks[i].step()
			for table[slot] >= 0 {
				slot = walks[i].step()
			}
			table[slot] = all[i].index
			left--
			turns[i]++
			again := max(math.Ceil(float64(turns[i])*most/all[i].weight), float64(round+1))
			if again < float64(len(last)) {
				push(int(again), i)
			}
		}
	}
	return table
}
