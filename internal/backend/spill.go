// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"iter"
	weakrand "math/rand/v2"
)

// TierAt returns the index of the tier that a draw from 0 to 1 falls to, 0 if
// there are no tiers.
func (v *View) TierAt(draw float64) int {
	for i := range v.Tiers {
		if draw < v.Tiers[i].Share {
			return i
		}
	}
	return max(0, len(v.Tiers)-1)
}

// Order returns the n-th tier to ask where the draw fell to the first: that one,
// and then the others in their order.
func (v *View) Order(first, n int) int {
	switch {
	case n == 0:
		return first
	case n <= first:
		return n - 1
	}
	return n
}

// Gets reports whether a tier gets any requests while those before it can serve.
func (v *View) Gets(tier int) bool {
	return tier == 0 && v.Tiers[0].Share > 0 || tier > 0 && v.Tiers[tier].Share > v.Tiers[tier-1].Share
}

// maxTrials bounds how many backends on trial a request looks at.
const maxTrials = 4

// Trial claims the trial of a backend of the tier, or nothing if none waits for
// one.
func (t *Tier) Trial() Claim {
	for b := range t.waiting() {
		if c, ok := b.Reserve(); ok {
			return c
		}
	}
	return Claim{}
}

// waiting yields some of the backends that wait for a trial.
func (t *Tier) waiting() iter.Seq[*Backend] {
	return func(yield func(*Backend) bool) {
		if len(t.Trials) == 0 {
			return
		}
		first := weakrand.IntN(len(t.Trials))
		for i := range min(len(t.Trials), maxTrials) {
			b := t.Trials[(first+i)%len(t.Trials)]
			// The view may be older than the end of the trial.
			if b.Phase() == Trial && b.Eligible() && !yield(b) {
				return
			}
		}
	}
}

// Spills reports whether the first tier does not get all requests.
func (v *View) Spills() bool { return len(v.Tiers) > 1 && v.Tiers[0].Share < 1 }
