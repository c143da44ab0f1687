// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"
)

func text(t *testing.T, figures []Values) string {
	t.Helper()
	data, err := json.Marshal(figures)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Counters become rates over the real time, a reset counter is one from 0, missing values are
// unknown, and only the latest values are kept.
func TestTable(t *testing.T) {
	table, now := NewTable[string](1, 1, 2), time.Hour
	step := func(after time.Duration, n int64, v float64) {
		now += after
		table.Next(now)
		table.Note("a", []int64{n}, []float64{v})
	}
	step(0, 1000, 1)
	step(Step, 1100, 2)
	step(Step+Step/4, 1225, 0.12345) // late: 125 in 6.25 s
	step(Step, 50, 4)                // reset
	from, figures := table.Since("a", 0)
	if got, want := text(t, figures), "[[null,20,20,10],[1,2,0.1235,4]]"; got != want || from != 1 {
		t.Errorf("from %d: %s, want %s", from, got, want)
	}
	step(3*Step, 200, 5) // two are missed
	from, figures = table.Since("a", 4)
	if got, want := text(t, figures), "[[null,null,10],[null,null,5]]"; got != want || from != 5 {
		t.Errorf("from %d: %s, want %s", from, got, want)
	}
	for n := range 2 * Length {
		step(Step, 200, float64(n))
	}
	tick, at := table.Tick()
	from, figures = table.Since("a", 0)
	if len(figures[1]) != Length || figures[1][Length-1] != 2*Length-1 || figures[1][0] != Length || from != tick-Length+1 || at != now {
		t.Errorf("%d values from %d to %d: %s", len(figures[1]), from, tick, text(t, figures))
	}
	for _, after := range []uint64{tick, math.MaxUint64} {
		if _, none := table.Since("a", after); none != nil {
			t.Errorf("after tick %d: %v", after, none)
		}
	}
	if _, none := table.Since("b", 0); none != nil {
		t.Errorf("of nothing: %v", none)
	}
}

// What departs is forgotten, what is beyond the bound is not kept, and a thousand backends take what
// the documentation says.
func TestBounds(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const most = 1000
	table, now := NewTable[string](2, 2, most), time.Hour
	for range Length + 1 {
		now += Step
		table.Next(now)
		for n := range most + 5 {
			table.Note(fmt.Sprint(n), []int64{1, 2}, []float64{3, 4})
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := float64(after.HeapAlloc-before.HeapAlloc) / 1e6; len(table.all) != most || used > 3.4 {
		t.Errorf("%d things in %.1f MB", len(table.all), used)
	}
	for range forgetAfter + 1 {
		now += Step
		table.Next(now)
		table.Note("0", []int64{1, 2}, []float64{3, 4})
	}
	if len(table.all) != 1 {
		t.Errorf("%d things are kept after the others have left", len(table.all))
	}
	runtime.KeepAlive(table)
}
