// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package latency

import (
	"math"
	"testing"
	"time"
)

// Each duration is within the bounds of its bucket, powers of two of seconds, up to 0.67 %, both in
// a window and in the totals; and both kinds of buckets have the same counts.
func TestHistogramInSeconds(t *testing.T) {
	for d := 2 * time.Microsecond; d < time.Minute; d = d*41/40 + 1 {
		var h Histogram
		h.Init()
		h.Observe(time.Second, d)
		for _, emptied := range []bool{false, true} {
			if emptied {
				h.empty(0)
				h.empty(1)
			}
			n, at := uint64(0), 0
			totals := h.Totals()
			for i, count := range totals.Seconds {
				if count > 0 {
					n, at = n+count, i
				}
			}
			upper := math.Ldexp(1, LeastSecond+at)
			if s := d.Seconds(); n != 1 || s > upper*1.0067 || s < upper/2*1.0066 && at > 0 {
				t.Fatalf("%v, emptied %v: %d in buckets, the last up to %v s", d, emptied, n, upper)
			}
			if got := totals.Cumulative[len(totals.Cumulative)-1]; got != 1 {
				t.Fatalf("%v, emptied %v: %d in classic buckets", d, emptied, got)
			}
		}
	}
	var h Histogram
	h.Init()
	for _, d := range []time.Duration{0, 1, time.Hour} {
		h.Observe(time.Second, d)
	}
	got := h.Totals().Seconds
	if last := len(got) - 1; got[0] != 2 || got[last] != 1 || LeastSecond+last != 7 {
		t.Errorf("got %v, the last up to 2^%d s", got, LeastSecond+last)
	}
}
