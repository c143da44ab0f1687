// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"iter"
	weakrand "math/rand/v2"
)

// TierFor returns the index of the tier that a draw from 0 to 1 falls to, 0 if
// there are no tiers.
func (v *View) TierFor(draw float64) int {
	for i := range v.Tiers {
		if draw < v.Tiers[i].Share {
			return i
		}
	}
	return max(0, len(v.Tiers)-1)
}

// TierOrder returns the n-th tier to ask where the draw fell to the first: that one,
// and then the others in their order.
func (v *View) TierOrder(first, n int) int {
	switch {
	case n == 0:
		return first
	case n <= first:
		return n - 1
	}
	return n
}

// GetsRequests reports whether a tier gets any requests while those before it can serve.
func (v *View) GetsRequests(tier int) bool {
	return tier == 0 && v.Tiers[0].Share > 0 || tier > 0 && v.Tiers[tier].Share > v.Tiers[tier-1].Share
}

// maxTrials bounds how many backends on trial a request looks at.
const maxTrials = 4

// ReserveTrial claims the trial of a backend of the tier, or nothing if none waits for
// one.
func (t *Tier) ReserveTrial() Permit {
	for b := range t.halfOpen() {
		if c, ok := b.Reserve(); ok {
			return c
		}
	}
	return Permit{}
}

// halfOpen yields some of the backends that wait for a trial.
func (t *Tier) halfOpen() iter.Seq[*Backend] {
	return func(yield func(*Backend) bool) {
		if len(t.HalfOpen) == 0 {
			return
		}
		first := weakrand.IntN(len(t.HalfOpen))
		for i := range min(len(t.HalfOpen), maxTrials) {
			b := t.HalfOpen[(first+i)%len(t.HalfOpen)]
			// The view may be older than the end of the trial.
			if b.EjectionState() == HalfOpen && b.Eligible() && !yield(b) {
				return
			}
		}
	}
}

// SpillsOver reports whether the first tier does not get all requests.
func (v *View) SpillsOver() bool { return len(v.Tiers) > 1 && v.Tiers[0].Share < 1 }
