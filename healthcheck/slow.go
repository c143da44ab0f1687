// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"slices"
	"time"
)

// minCompared is how many latencies a median is made of at least: of two, none
// is odd.
const minCompared = 3

// Slow returns those of some backends whose latency is more than factor times
// the median of all; none if there are fewer than 3 to compare.
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

// SlowReason says why a backend with a latency is slow.
func SlowReason(latency float64, all []float64) string {
	return fmt.Sprintf("answers take %v, the pool's median is %v", round(latency), round(median(all)))
}

// median returns the median, the lower one of two: half of a pool that is slow
// must not make itself the measure.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

func round(ns float64) time.Duration { return time.Duration(ns).Round(100 * time.Microsecond) }
