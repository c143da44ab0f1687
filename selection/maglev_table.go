// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import "math"

// The sizes of Maglev's tables are prime.
const (
	maglevSize = 65537
	maglevBig  = 655373
	maglevMany = 650 // more backends than this have the big table
)

// maglevSizeFor returns the number of slots for n backends.
func maglevSizeFor(n int) int {
	if n > maglevMany {
		return maglevBig
	}
	return maglevSize
}

// newMaglev makes a table as Maglev does (Eisenbud et al. 2016, 3.4).
func newMaglev(all []member, size int) slots {
	walks := make([]maglevPermutation, len(all))
	for i, m := range all {
		walks[i] = newMaglevPermutation(m.id, size)
	}
	return fillMaglev(all, walks, size)
}

// fillMaglev lets backends take turns, and each take the first slot in its own
// order that is free. The heaviest has a turn each round, others one when their
// weight has added up to as much (Envoy's rule): turn j is in round j x most /
// weight. To find whose turn it is, a round has a queue, so the cost is that of
// the slots whatever the number of backends.
func fillMaglev(all []member, walks []maglevPermutation, size int) slots {
	table := make(slots, size)
	for i := range table {
		table[i] = -1
	}
	_, most := totals(all)
	last := make([]int32, size+2) // of the queue of a round, which is full by then
	for i := range last {
		last[i] = -1
	}
	next := make([]int32, len(all)) // in the queue; behind the last comes the first
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
	turns := make([]int, len(all)) // that were taken
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
			at := walks[i].step()
			for table[at] >= 0 {
				at = walks[i].step()
			}
			table[at] = all[i].index
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
