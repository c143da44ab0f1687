// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package latency

import (
	"math"
	"sync"
	"testing"
	"time"
)

const ms = time.Millisecond

func near(t *testing.T, what string, got float64, want, tolerance time.Duration) {
	t.Helper()
	if math.Abs(got-float64(want)) > float64(tolerance) {
		t.Errorf("%s is %v, want %v within %v", what, time.Duration(got), want, tolerance)
	}
}

func TestEWMA(t *testing.T) {
	var e EWMA
	if e.Value(0, time.Second) != 0 {
		t.Error("a value without samples")
	}
	// The first samples have equal weights.
	for i := range 10 {
		e.Observe(time.Duration(i)*ms, time.Duration(10+i%2*10)*ms, 10*time.Second)
	}
	near(t, "the average of the first", e.Value(9*ms, 10*time.Second), 15*ms, ms/2)
	// After many samples, the weight of one a decay time later is 1-1/e.
	var f EWMA
	for i := range 200 {
		f.Observe(time.Duration(i)*ms, 100*ms, time.Second)
	}
	f.Observe(1199*ms, 0, time.Second)
	near(t, "the average after a decay time", f.Value(1199*ms, time.Second), 100*ms*368/1000, 2*ms)
	near(t, "the value faded", f.Value(2199*ms, time.Second), 100*ms*368*368/1e6, 2*ms)
	// Averages distinguish latencies below a millisecond.
	var a, b EWMA
	a.Observe(0, 200*time.Microsecond, time.Second)
	b.Observe(0, 210*time.Microsecond, time.Second)
	if a.Value(0, time.Second) >= b.Value(0, time.Second) {
		t.Error("the average of 200us is not below that of 210us")
	}
}

func TestPeak(t *testing.T) {
	var l Tracker
	p := l.PeakOf(10*time.Second, false)
	if l.PeakOf(10*time.Second, false) != p || l.PeakOf(time.Second, false) == p || l.PeakOf(10*time.Second, true) == p {
		t.Error("want one average for each decay time")
	}
	p.ObservePeak(0, 10*ms, p.Decay)
	p.ObservePeak(ms, time.Second, p.Decay)
	near(t, "a peak", p.Value(ms, p.Decay), time.Second, ms)
	for i := range 100 {
		p.ObservePeak(time.Duration(2+i)*ms, 10*ms, p.Decay)
	}
	near(t, "a peak 100 ms later", p.Value(102*ms, p.Decay), 990*ms, 2*ms)
}

// The clock of an average wraps around every 4.6 hours; a sample of another goroutine that is
// slightly later has age 0.
func TestAge(t *testing.T) {
	round := uint64(1) << tickBits
	for _, tt := range []struct {
		from, to uint64
		want     time.Duration
	}{{5, 9, 4 * tick}, {round - 1, 1, 2 * tick}, {9, 5, 0}, {1, round - 1, 0}} {
		if got := age(tt.from, tt.to); got != tt.want {
			t.Errorf("from %d to %d: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestFade(t *testing.T) {
	for x := 0.0; x <= 8; x += 0.25 {
		got, want := fade(time.Duration(x*float64(time.Second)), time.Second), math.Exp(-x)
		if math.Abs(got-want) > 0.01 {
			t.Errorf("fade(%v) is %v, want %v", x, got, want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	h.Init()
	for i := 1; i <= 1000; i++ {
		h.Observe(time.Second, time.Duration(i)*ms)
	}
	for i, got := range h.Quantiles(2*time.Second, 0, 0.5, 0.99) {
		want := []time.Duration{ms, 500 * ms, 990 * ms}[i]
		if got < want || float64(got) > float64(want)*1.126 {
			t.Errorf("quantile %d is %v, want %v or up to 12.5 %% more", i, got, want)
		}
	}
	h.Observe(40*time.Second, time.Hour)
	if got := h.Quantiles(40*time.Second, 0.5)[0]; got > 600*ms {
		t.Errorf("the previous window does not count: median %v", got)
	}
	h.Observe(70*time.Second, ms)
	if got := h.Quantiles(70*time.Second, 0)[0]; got > 2*ms {
		t.Errorf("the window before the previous one still counts: minimum %v", got)
	}
	if got := h.Quantiles(time.Hour, 0.5)[0]; got != 0 {
		t.Errorf("median %v an hour later, want none", got)
	}
	totals := h.Totals() // include all windows
	bounds, cumulative := totals.Bounds, totals.Cumulative
	for i, d := range bounds {
		want := uint64(min(d-1, 1000*ms)/ms) + 1 // durations of 1 ms, 2 ms, ... 1 s, and a second one of 1 ms
		if d <= ms {
			want = 0
		}
		if i == len(bounds)-1 {
			want = 1002 // including the one of an hour
		}
		if cumulative[i] != want {
			t.Errorf("%d were shorter than %v, want %d", cumulative[i], d, want)
		}
	}
	for d := time.Duration(1); d < time.Hour; d = d*9/8 + 1 {
		if b := bucketOf(d); upperBound(b) <= min(d, 60*time.Second) || b > 0 && upperBound(b-1) > d {
			t.Fatalf("%v is in the bucket up to %v", d, upperBound(b))
		}
	}
}

func TestEWMAInParallel(t *testing.T) {
	var e EWMA
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				e.Observe(time.Duration(i)*ms, 50*ms, time.Second)
			}
		})
	}
	wg.Wait()
	near(t, "the average of equal samples", e.Value(999*ms, time.Second), 50*ms, ms/10)
}

// Load classes increase with the load, in steps of one.
func TestLoadClass(t *testing.T) {
	last := -1
	for load := range 5000 {
		if c := loadClass(load); c < last || c > last+1 || c >= loadClasses {
			t.Fatalf("load %d has class %d after %d", load, c, last)
		} else {
			last = c
		}
	}
}
