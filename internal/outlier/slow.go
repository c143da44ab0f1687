// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"fmt"
	"slices"
	"time"
)

// minCompared is the least number of latencies for a comparison: with two, none is an outlier.
const minCompared = 3

// Slow returns the elements of some whose latency exceeds factor times the median of all. It
// returns none if all has fewer than 3 elements.
func Slow[T any](some []T, latency func(T) float64, all []float64, factor float64) (slow []T) {
	if len(all) < minCompared {
		return nil
	}
	limit := factor * median(all)
	for _, one := range some {
		if latency(one) > limit {
			slow = append(slow, one)
		}
	}
	return slow
}

// SlowReason returns the reason of an ejection for latency.
func SlowReason(latency float64, all []float64) string {
	return fmt.Sprintf("latency %v, the pool's median is %v", round(latency), round(median(all)))
}

// median returns the median, the lower one of an even number: a slow half of a pool must not raise
// the threshold.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

func round(ns float64) time.Duration { return time.Duration(ns).Round(100 * time.Microsecond) }
