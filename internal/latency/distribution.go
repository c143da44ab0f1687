// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package latency

import "time"

// Distribution is the sum of the recent durations of several histograms. The zero value is empty.
// Only one goroutine may use it.
type Distribution struct {
	counts [buckets]uint64
	total  uint64
}

// Add adds the durations of the last 30 to 60 seconds.
func (d *Distribution) Add(now time.Duration, h *Histogram) {
	newest := h.turn.Load()
	for turn := max(0, newest-1); turn <= newest; turn++ {
		if int64(now/window)-turn > 1 {
			continue // expired, but not emptied yet
		}
		for i := range d.counts {
			n := uint64(h.windows[turn&1][i].Load())
			d.counts[i] += n
			d.total += n
		}
	}
}

// Subtract removes the durations that were also added to o. Later ones, which only o has, are
// ignored.
func (d *Distribution) Subtract(o *Distribution) {
	for i, n := range o.counts {
		n = min(n, d.counts[i])
		d.counts[i] -= n
		d.total -= n
	}
}

// Count returns the number of durations.
func (d *Distribution) Count() uint64 { return d.total }

// Quantile returns the quantile for q in [0, 1], which may be too long by 12.5 %; 0 if there are no
// durations.
func (d *Distribution) Quantile(q float64) time.Duration {
	if d.total == 0 {
		return 0
	}
	rank, sum := uint64(q*float64(d.total-1)), uint64(0)
	for bucket, n := range d.counts {
		if sum += n; sum > rank {
			return upperBound(bucket)
		}
	}
	return 0
}
