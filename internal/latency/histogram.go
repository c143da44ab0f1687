// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package latency

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Histogram counts durations from 1 us to a minute in buckets whose width
// is an eighth of their order of magnitude, so that a quantile is off by at
// most 12.5 %. Quantiles forget: of two windows, the older is emptied when the newer
// is full, into totals that are less fine. It must be made ready. Safe for
// concurrent use; a count that is made while a window turns may be of either.
type Histogram struct {
	turn atomic.Int64 // the number of the newer window, from the beginning
	*counted
}

// counted is what a request reads only in part.
type counted struct {
	windows [2][buckets]atomic.Uint32

	mu      sync.Mutex // held while a window is emptied
	emptied [octaves]halves
}

// halves are the counts of an octave: of its first seven eighths, and of the last. Where
// these meet is 15/16 of a power of two of nanoseconds, and so, but for 0.7 %, a power of
// two of seconds.
type halves [2]uint64

func (c *halves) add(bucket int, n uint64) { c[bucket%8/7] += n }

// Init readies the histogram. It comes before any other call.
func (h *Histogram) Init() { h.counted = new(counted) }

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
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.windows[turn&1] {
		h.emptied[i/8].add(i, uint64(h.windows[turn&1][i].Swap(0)))
	}
}

// HistogramTotals is all durations from the beginning. Read-only.
type HistogramTotals struct {
	// Bounds are 2^11 ns, 2^12 ns and so on to 2^36 ns.
	Bounds []time.Duration
	// Cumulative is how many did not exceed each of Bounds; what is longer is in the
	// last. A duration that is exactly one of them counts as longer.
	Cumulative []uint64
	// Seconds are how many there were between powers of two of seconds, from 2^-20 to
	// 2^-19 and so on to 2^6 to 2^7; what is shorter or longer is in the first or last.
	// The bounds are too low by 0.66 %: what is in that up to 1 s took up to 1.0066 s.
	Seconds []uint64
}

// LeastSecond is the power of two of seconds that ends the first of Seconds.
const LeastSecond = shift - 29

// Totals counts what there was from the beginning.
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

// Rate returns how many durations there were a second, in the last 30 to 60
// seconds or, if that is less, since the beginning.
func (h *Histogram) Rate(now, since time.Duration) float64 {
	total, current := uint64(0), int64(now/window)
	for turn := current - 1; turn <= current; turn++ {
		// A window that nobody has come to empty since is of another turn.
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
