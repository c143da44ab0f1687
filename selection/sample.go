// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import weakrand "math/rand/v2"

// uniform returns what draws n indexes alike.
func uniform(n int) *alias { return &alias{n: n} }

// sample returns a usable candidate other than not, or -1 if it met none.
func (a *alias) sample(c candidates, not int) int {
	for range maxDraws / 2 {
		if i := a.draw(); i != not && c.usable(i) {
			return i
		}
	}
	// One backend may have nearly all the weight: draw evenly without it. The
	// last stands in for it, so that no neighbour gains.
	n := a.n
	if not >= 0 {
		n--
	}
	for range maxDraws / 2 {
		if n == 0 {
			break
		}
		i := weakrand.IntN(n)
		if i == not {
			i = n
		}
		if c.usable(i) {
			return i
		}
	}
	return -1
}
