// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
)

// figures are what came of a step.
type figures struct {
	*loadgen.Result
	peak int           // of any backend, with the requests that came before those that count
	cpu  time.Duration // of the proxy, likewise
	sent float64       // how many those are
	// others is the part of the machine that was used by others.
	others float64
}

// table is the figures of all, by what was asked for.
type table struct {
	times []float64
	rows  map[float64]map[string]*figures
}

func newTable(o options) *table {
	return &table{times: o.times, rows: make(map[float64]map[string]*figures)}
}

// add adds those of one step; several of the same become one.
func (t *table) add(times float64, name string, f *figures) {
	row := t.rows[times]
	if row == nil {
		row = make(map[string]*figures)
		t.rows[times] = row
	}
	old := row[name]
	if old == nil {
		row[name] = f
		return
	}
	old.Merge(f.Result)
	old.peak = max(old.peak, f.peak)
	old.cpu += f.cpu
	old.sent += f.sent
	old.others = max(old.others, f.others)
}

// print prints a block for each of what was asked for.
func (t *table) print(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, times := range t.times {
		fmt.Fprintf(w, "%g times\toffered/s\tanswered/s\tof capacity\tp50 ms\tp99 ms\trefused\ttimed out\tfailed\tpeak\tCPU µs\tlate\tunsent\tothers\t\n", times)
		for _, k := range kinds {
			if f := t.rows[times][k.name]; f != nil {
				fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f %%\t%s\t%s\t%s\t%s\t%s\t%d\t%.0f\t%s\t%s\t%.0f %%\t\n", k.name,
					f.Rate(f.Due()), f.Rate(f.Count(loadgen.Answered)), 100*f.Rate(f.Count(loadgen.Answered))/float64(capacity),
					millis(f.Latency(0.5)), millis(f.Latency(0.99)),
					f.share(f.Count(loadgen.Refused)), f.share(f.Count(loadgen.TimedOut)), f.share(f.Count(loadgen.Failed)),
					f.peak, f.cpu.Seconds()*1e6/f.sent, f.share(f.Late), f.share(f.Unsent), 100*f.others)
			}
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// share is so many of those that were due.
func (f *figures) share(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(f.Due()))
}

func millis(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", d.Seconds()*1e3)
}
