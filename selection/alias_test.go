// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"
	"testing"
)

// Draws follow the weights within 5 standard deviations of the binomial distribution, sqrt(n p
// (1-p)); a correct table fails once in 1.7 million.
func TestAliasFollowsWeights(t *testing.T) {
	for _, weights := range [][]float64{{1}, {1, 1, 1}, {5, 1, 1}, {0, 1, 0, 3}, {1000, 1}, {0.5, 0.125, 0.375}, {1e-9, 1}} {
		const n = 200_000
		a, sum := newAlias(weights), 0.0
		for _, w := range weights {
			sum += w
		}
		count := make([]float64, len(weights))
		for range n {
			count[a.draw()]++
		}
		for i, w := range weights {
			p := w / sum
			if sigma := math.Sqrt(n * p * (1 - p)); math.Abs(count[i]-n*p) > 5*sigma+1e-6 {
				t.Errorf("%v: drew %d %v times, want %v within %v", weights, i, count[i], n*p, 5*sigma)
			}
		}
	}
}
