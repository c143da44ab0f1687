// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import "math"

// maxCycle bounds the length of a schedule, and so its memory: 1 MiB.
const maxCycle = 1 << 18

// cycleOf is the length of a cycle of n backends whose weights are not whole numbers: long enough
// that rounding changes an average share by at most 0.05 %. Each step of a slow start produces such
// weights and a new schedule, so a longer cycle would cost too much.
func cycleOf(n int) int { return min(max(1<<14, n<<10), max(maxCycle, n)) }

// newSchedule returns the order in which backends of the given weights take turns: a cycle in
// which backend i appears exactly weights[i] times (over the greatest common divisor), with the
// turns of each backend spread evenly. It is earliest deadline first over one cycle: the k-th
// of w turns is due at (k + phase) / w. Backends of the same weight share the unit interval of
// phases, so that they do not come in a row.
//
// For the weights 5, 1, 1 the cycle is a b a a a c a, with no more than 3 a's in a row. Smooth
// weighted round robin (nginx) has a a b a c a a, with 4.
//
// Weights that are not whole numbers are rounded to shares of a cycle of cycleOf, and those that
// make a cycle longer than maxCycle to shares of that, at least 1.
func newSchedule(weights []float64) []int32 {
	turns := wholeTurns(weights)
	total, peers := 0, make(map[int]int) // number of backends by number of turns
	for _, n := range turns {
		total += n
		peers[n]++
	}
	// Sorting by due date is a counting sort, since there are as many slots as turns.
	dues := make([]int32, 0, total)
	ends := make([]int32, total+1)
	rank := make(map[int]int, len(peers))
	for _, n := range turns {
		phase := (float64(rank[n]) + 0.5) / float64(peers[n])
		rank[n]++
		for k := range n {
			due := int32((float64(k) + phase) / float64(n) * float64(total))
			dues = append(dues, due)
			ends[due+1]++
		}
	}
	for i := range total {
		ends[i+1] += ends[i]
	}
	schedule := make([]int32, total)
	next := dues
	for i, n := range turns {
		for range n {
			due := next[0]
			next = next[1:]
			schedule[ends[due]] = int32(i)
			ends[due]++
		}
	}
	return schedule
}

// wholeTurns returns the number of turns in a cycle for each weight.
func wholeTurns(weights []float64) []int {
	turns := make([]int, len(weights))
	divisor, sum, whole := 0, 0.0, true
	for i, w := range weights {
		whole = whole && w == math.Trunc(w) && w <= math.MaxInt32
		if whole {
			turns[i] = int(w)
			divisor = gcd(divisor, turns[i])
		}
		sum += w
	}
	if whole && sum/float64(divisor) <= maxCycle {
		for i := range turns {
			turns[i] /= divisor
		}
		return turns
	}
	cycle := float64(max(maxCycle, len(weights)))
	if !whole {
		cycle = float64(cycleOf(len(weights)))
	}
	for i, w := range weights {
		turns[i] = int(math.Round(w / sum * cycle))
		if w > 0 {
			turns[i] = max(turns[i], 1)
		}
	}
	return turns
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
