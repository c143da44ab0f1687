// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations from 1 us to a minute in buckets whose width
// is an eighth of their order of magnitude, so that a quantile is off by at
// most 12.5 %. It forgets: of two windows, the older is emptied when the newer
// is full. It must be made ready. Safe for concurrent use; a count that is
// made while a window turns may get lost.
type Histogram struct {
	turn    atomic.Int64 // the number of the newer window, from the beginning
	windows *[2][buckets]atomic.Uint32
}

func (h *Histogram) ready() { h.windows = new([2][buckets]atomic.Uint32) }

const (
	// window is how long a window of a histogram takes counts.
	window  = 30 * time.Second
	shift   = 10 // the first octave begins at 2^10 ns
	octaves = 26 // the last ends at 69 s
	buckets = octaves * 8
)

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	ns := uint64(max(d, 1<<shift))
	octave := bits.Len64(ns) - 1
	if octave >= shift+octaves {
		return buckets - 1
	}
	return (octave-shift)*8 + int(ns>>(octave-3)&7)
}

// upperBound returns the end of a bucket.
func upperBound(bucket int) time.Duration {
	octave, eighth := bucket/8+shift, bucket%8
	return time.Duration(9+eighth) << (octave - 3)
}

// Observe counts a duration.
func (h *Histogram) Observe(now, d time.Duration) {
	turn := int64(now / window)
	if then := h.turn.Load(); turn > then && h.turn.CompareAndSwap(then, turn) {
		h.empty(turn)
		if turn > then+1 {
			h.empty(turn - 1)
		}
	}
	h.windows[turn&1][bucketOf(d)].Add(1)
}

func (h *Histogram) empty(turn int64) {
	for i := range h.windows[turn&1] {
		h.windows[turn&1][i].Store(0)
	}
}

// Quantiles returns, for each q from 0 to 1, the duration that this share of
// the durations of the last 30 to 60 seconds did not exceed; 0 if there are
// none.
func (h *Histogram) Quantiles(now time.Duration, qs ...float64) []time.Duration {
	var counts [buckets]uint64
	total := uint64(0)
	newest := h.turn.Load()
	for turn := newest - 1; turn <= newest; turn++ {
		if int64(now/window)-turn > 1 {
			continue // nobody has come to empty it
		}
		for i := range counts {
			n := uint64(h.windows[turn&1][i].Load())
			counts[i] += n
			total += n
		}
	}
	result := make([]time.Duration, len(qs))
	if total == 0 {
		return result
	}
	for i, q := range qs {
		rank, sum := uint64(q*float64(total-1)), uint64(0)
		for b, n := range counts {
			if sum += n; sum > rank {
				result[i] = upperBound(b)
				break
			}
		}
	}
	return result
}
