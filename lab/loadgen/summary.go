// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Summary is a result as JSON. Times are in milliseconds.
type Summary struct {
	// Mode is open or closed.
	Mode    string  `json:"mode"`
	Seconds float64 `json:"seconds"`
	// Offered and Answered are requests a second.
	OfferedRate  float64 `json:"offered_per_second"`
	AnsweredRate float64 `json:"answered_per_second"`

	Due      int `json:"due"`
	Answered int `json:"answered"`
	Refused  int `json:"refused"`
	TimedOut int `json:"timed_out"`
	Failed   int `json:"failed"`
	// Late and Unsent show that the generator did not keep up.
	Late   int `json:"late"`
	Unsent int `json:"unsent"`

	// Latency is measured from when requests were due, and ServiceTime from when they were sent.
	Latency     Quantiles      `json:"latency_ms"`
	ServiceTime Quantiles      `json:"service_time_ms"`
	Statuses    map[string]int `json:"statuses"`
	Servers     map[string]int `json:"servers,omitempty"`
	BySecond    []BySecond     `json:"by_second"`
}

// Quantiles are the quantiles of a distribution, in milliseconds.
type Quantiles struct {
	Min   float64 `json:"min"`
	P50   float64 `json:"p50"`
	P75   float64 `json:"p75"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	P9999 float64 `json:"p99.99"`
	Max   float64 `json:"max"`
}

// BySecond is the result of the requests that were due in one second.
type BySecond struct {
	Answered int     `json:"answered"`
	Refused  int     `json:"refused"`
	TimedOut int     `json:"timed_out"`
	Failed   int     `json:"failed"`
	Unsent   int     `json:"unsent"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
}

// Summarize returns the summary of a result. mode is open or closed.
func (r *Result) Summarize(mode string) Summary {
	s := Summary{
		Mode: mode, Seconds: r.Length.Seconds(),
		OfferedRate: r.Rate(r.Due()), AnsweredRate: r.Rate(r.Count(Answered)),
		Due: r.Due(), Answered: r.Count(Answered), Refused: r.Count(Refused), TimedOut: r.Count(TimedOut), Failed: r.Count(Failed),
		Late: r.Late, Unsent: r.Unsent,
		Latency: quantiles(r.Latency), ServiceTime: quantiles(r.ServiceTime),
		Statuses: make(map[string]int), Servers: r.Servers,
	}
	for status, n := range r.Statuses {
		s.Statuses[strconv.Itoa(status)] = n
	}
	for _, second := range r.Seconds {
		s.BySecond = append(s.BySecond, BySecond{
			second.Count(Answered), second.Count(Refused), second.Count(TimedOut), second.Count(Failed), second.Unsent,
			millis(second.Latency(0.5)), millis(second.Latency(0.99)),
		})
	}
	return s
}

func quantiles(of func(float64) time.Duration) Quantiles {
	at := func(q float64) float64 { return millis(of(q)) }
	return Quantiles{at(0), at(0.5), at(0.75), at(0.9), at(0.99), at(0.999), at(0.9999), at(1)}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// Print writes the summary for a terminal.
func (s Summary) Print(to io.Writer) {
	fmt.Fprintf(to, "%.1f s, %s loop: %d requests due (%.1f/s), %d answered (%.1f/s)\n",
		s.Seconds, s.Mode, s.Due, s.OfferedRate, s.Answered, s.AnsweredRate)
	fmt.Fprintf(to, "refused %d, timed out %d, failed %d\n\n", s.Refused, s.TimedOut, s.Failed)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ms\tmin\tp50\tp75\tp90\tp99\tp99.9\tp99.99\tmax\t")
	for _, row := range []struct {
		name string
		q    Quantiles
	}{{"latency", s.Latency}, {"service time", s.ServiceTime}} {
		fmt.Fprintf(w, "%s\t", row.name)
		for _, v := range []float64{row.q.Min, row.q.P50, row.q.P75, row.q.P90, row.q.P99, row.q.P999, row.q.P9999, row.q.Max} {
			fmt.Fprintf(w, "%.2f\t", v)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	fmt.Fprintln(to, "\nLatency counts from when a request was due, service time from when it was sent.")
	for _, list := range []struct {
		name   string
		counts map[string]int
	}{{"statuses", s.Statuses}, {"backends", s.Servers}} {
		if len(list.counts) > 0 {
			fmt.Fprintf(to, "%s: %s\n", list.name, counted(list.counts))
		}
	}
	if s.Late+s.Unsent > 0 {
		fmt.Fprintf(to, "The generator sent %d requests late and %d not at all: it, or its machine, is at its limit.\n", s.Late, s.Unsent)
	}
}

func counted(counts map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(all, ", ")
}
