// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package latency

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Histogram counts durations from 1 us to a minute in buckets whose width is an eighth of their
// octave, so that a quantile is off by at most 12.5 %. Quantiles cover two windows of 30 s. When
// the newer window is full, the older one is emptied into totals, which have coarser buckets.
// Call Init before use. Safe for concurrent use. A duration observed while the windows change may
// count in either.
type Histogram struct {
	turn atomic.Int64 // the number of the newer window, since the start
	*counted
}

// counted are the counters of a Histogram. A request writes one word of them.
type counted struct {
	windows [2][buckets]atomic.Uint32

	mu      sync.Mutex // held while a window is emptied
	emptied [octaves]halves
}

// halves are the counts of an octave: of its first seven eighths, and of the last eighth. The
// boundary is at 15/16 of a power of two of nanoseconds, which is within 0.7 % of a power of two
// of seconds.
type halves [2]uint64

func (c *halves) add(bucket int, n uint64) { c[bucket%8/7] += n }

// Init initializes the histogram. It must be called before any other method.
func (h *Histogram) Init() { h.counted = new(counted) }

const (
	// window is the duration of a window of the histogram.
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

// upperBound returns the upper bound of a bucket.
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
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.windows[turn&1] {
		h.emptied[i/8].add(i, uint64(h.windows[turn&1][i].Swap(0)))
	}
}

// HistogramTotals counts all durations since the start. Read-only.
type HistogramTotals struct {
	// Bounds are 2^11 ns, 2^12 ns and so on to 2^36 ns.
	Bounds []time.Duration
	// Cumulative counts the durations below each of Bounds. The last one includes all longer
	// durations.
	Cumulative []uint64
	// Seconds counts the durations between powers of two of seconds, from 2^-20 to 2^-19 and so
	// on to 2^6 to 2^7. The first and the last include all shorter and longer durations. The
	// bounds are too low by 0.66 %: the bucket up to 1 s includes durations up to 1.0066 s.
	Seconds []uint64
}

// LeastSecond is the exponent of the upper bound of the first of Seconds.
const LeastSecond = shift - 29

// Totals returns the counts since the start.
func (h *Histogram) Totals() (t HistogramTotals) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum, above := uint64(0), uint64(0)
	for octave, n := range h.emptied {
		for i := 8 * octave; i < 8*octave+8; i++ {
			n.add(i, uint64(h.windows[0][i].Load())+uint64(h.windows[1][i].Load()))
		}
		sum += n[0] + n[1]
		t.Bounds, t.Cumulative = append(t.Bounds, 1<<(octave+shift+1)), append(t.Cumulative, sum)
		t.Seconds = append(t.Seconds, above+n[0])
		above = n[1]
	}
	t.Seconds = append(t.Seconds, above)
	return t
}

// Rate returns the number of durations per second, over the last 30 to 60 seconds, or since the
// given time if that is shorter.
func (h *Histogram) Rate(now, since time.Duration) float64 {
	total, current := uint64(0), int64(now/window)
	for turn := current - 1; turn <= current; turn++ {
		// A window that was not emptied since has the counts of an earlier turn.
		if newest := h.turn.Load(); turn < 0 || turn > newest || newest-turn > 1 {
			continue
		}
		for i := range h.windows[turn&1] {
			total += uint64(h.windows[turn&1][i].Load())
		}
	}
	begin := max(since, time.Duration(current-1)*window)
	return float64(total) / max((now-begin).Seconds(), 1)
}

// Quantiles returns the quantile of the durations of the last 30 to 60 seconds for each q in [0,
// 1]; 0 if there are none.
func (h *Histogram) Quantiles(now time.Duration, qs ...float64) []time.Duration {
	var d Distribution
	d.Add(now, h)
	result := make([]time.Duration, len(qs))
	for i, q := range qs {
		result[i] = d.Quantile(q)
	}
	return result
}
