// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import weakrand "math/rand/v2"

// alias draws indexes at random in proportion to weights, in constant time (Walker 1974, in the
// form of Vose 1991). It is read-only, and so safe for concurrent use. With equal weights it
// has no table.
type alias struct {
	n         int
	threshold []float64 // of column i: below it draw returns i, else other[i]
	other     []int32
}

func newAlias(weights []float64) *alias {
	n := len(weights)
	if equal(weights) {
		return &alias{n: n}
	}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	a := &alias{n: n, threshold: make([]float64, n), other: make([]int32, n)}
	var small, large []int32
	for i, w := range weights {
		a.threshold[i] = w / sum * float64(n)
		a.other[i] = int32(i)
		if a.threshold[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.other[s] = l
		a.threshold[l] -= 1 - a.threshold[s]
		if a.threshold[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	// The remaining columns are 1 up to rounding. None has weight zero: such a column is paired
	// while a column above 1 exists.
	for _, i := range small {
		a.threshold[i] = 1
	}
	for _, i := range large {
		a.threshold[i] = 1
	}
	return a
}

// draw returns a random index.
func (a *alias) draw() int {
	i := weakrand.IntN(a.n)
	if a.threshold != nil && weakrand.Float64() >= a.threshold[i] {
		return int(a.other[i])
	}
	return i
}

// equal reports whether all weights are the same.
func equal(weights []float64) bool {
	for _, w := range weights {
		if w != weights[0] {
			return false
		}
	}
	return true
}
