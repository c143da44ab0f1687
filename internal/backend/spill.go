// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

// overprovisioning is by how much a tier is larger than its load needs: it
// serves all of it while at least 1/1.4, or 71 %, of its backends are healthy
// (Envoy's priority levels and overprovisioning factor).
const overprovisioning = 1.4

// spill sets the shares of tiers, of which size and healthy count the backends.
// What is more than a tier can take goes to the next one. If all of them cannot
// take all, each gets more than it should, in proportion.
func spill(tiers []Tier, size, healthy map[int]int) {
	sum := 0.0
	for i := range tiers {
		n := tiers[i].Number
		if size[n] > 0 {
			sum += overprovisioning * float64(healthy[n]) / float64(size[n])
		}
		tiers[i].Share = min(sum, 1)
	}
	for i := range tiers {
		switch {
		case sum == 0: // none is healthy
			tiers[i].Share = 1
		case sum < 1:
			tiers[i].Share /= sum
		}
	}
}

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

// Spills reports whether the first tier does not get all requests.
func (v *View) Spills() bool { return len(v.Tiers) > 1 && v.Tiers[0].Share < 1 }
