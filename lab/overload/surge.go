// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/report"
)

// passing is an overload that begins and ends.
var passing = load{{0.9, 0.25}, {1.5, 0.25}, {0.9, 0.5}}

// surge shows whether retries and hedging lower the goodput in an overload, or prolong it.
func surge() *scenario {
	return &scenario{
		name: "surge", backends: 8, workers: 4, behavior: straggling,
		kinds: []kind{
			{"ballast, max_requests", peers.BallastQueue, true},
			{"ballast, retry and hedge", peers.BallastRetryHedge, true},
		},
		loads: []load{passing}, warm: 6 * time.Second, length: 32 * time.Second, rounds: 3, tries: 1, print: printSurge,
	}
}

func printSurge(to io.Writer, s *scenario, r results) {
	fmt.Fprintf(to, "%v\n"+
		"Clients ask for %v of that, for %v, %v and %v; the same requests in each round with and without retry and hedge.\n"+
		"Goodput is in percent of the capacity. It is back when 95 %% of the requests of a second are answered. Median of %d rounds, with the\n"+
		"least and the greatest.\n\n", s, passing, passing.end(0, s.length), passing.end(1, s.length)-passing.end(0, s.length),
		s.length-passing.end(1, s.length), s.rounds)
	during := func(i int) func(*figures) float64 {
		from, to := time.Duration(0), passing.end(i, s.length)
		if i > 0 {
			from = passing.end(i-1, s.length)
		}
		return func(f *figures) float64 { return 100 * goodput(f, from, to) / s.capacity() }
	}
	columns := []column{
		{"before %", during(0)}, {"overload %", during(1)}, {"after %", during(2)},
		{"back after s", func(f *figures) float64 { return back(f, passing.end(1, s.length)) }},
		{"p99 ms", latency(0.99)}, {"refused %", func(f *figures) float64 { return f.percent(f.Count(loadgen.Refused)) }},
		{"timed out %", func(f *figures) float64 { return f.percent(f.Count(loadgen.TimedOut)) }},
		{"attempts/request", (*figures).perRequest},
		{"CPU µs", (*figures).cost}, {"late %", late}, {"others %", busy},
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	printRounds(w, s, r, passing, columns)
	w.Flush()
	printSeconds(to, s, r)
}

// printSeconds prints the goodput of each second, and the ratio of the last kind to the first.
func printSeconds(to io.Writer, s *scenario, r results) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "second\tdue\t")
	for _, k := range s.kinds {
		fmt.Fprintf(w, "%s, answered\t", k.name)
	}
	fmt.Fprintln(w, "ratio\t")
	first, last := s.kinds[0], s.kinds[len(s.kinds)-1]
	for i := range int(s.length / time.Second) {
		answered := func(f *figures) float64 {
			if i >= len(f.Seconds) {
				return 0
			}
			return float64(f.Seconds[i].Count(loadgen.Answered))
		}
		fmt.Fprintf(w, "%d\t%v\t", i+1, r.each(passing, first, func(f *figures) float64 { return float64(due(f, i)) }))
		for _, k := range s.kinds {
			fmt.Fprintf(w, "%v\t", r.each(passing, k, answered))
		}
		ratio := report.Figure(nil)
		if first.name != last.name {
			ratio = r.each(passing, last, answered).Over(r.each(passing, first, answered))
		}
		fmt.Fprintf(w, "%v\t\n", ratio)
	}
	w.Flush()
	var least report.Figure
	without, with := r[step{passing.String(), first.name}], r[step{passing.String(), last.name}]
	rounds := min(len(without), len(with))
	for i := range rounds {
		least = append(least, leastRatio(with[i:i+1], without[i:i+1], span))
	}
	fmt.Fprintf(to, "\nThe least ratio over %d seconds: %v. In an overload, chance alone makes a difference of about 2 %% in a round.\n", span, least)
	if rounds > 0 {
		fmt.Fprintf(to, "The least ratio of the sums over all rounds: %.3f.\n", leastRatio(with[:rounds], without[:rounds], span))
	}
	fmt.Fprintln(to)
}

// span is the number of seconds over which goodput is compared: the standard deviation of one
// second is 4 %.
const span = 5

// leastRatio is the least ratio of the goodput of with to that of without over a number of
// consecutive seconds. It compares the sums of all rounds. There must be a round.
func leastRatio(with, without []*figures, seconds int) float64 {
	answers := func(rounds []*figures, from int) (n float64) {
		for _, f := range rounds {
			for _, s := range f.Seconds[from : from+seconds] {
				n += float64(s.Count(loadgen.Answered))
			}
		}
		return n
	}
	length := len(with[0].Seconds)
	for _, f := range slices.Concat(with, without) {
		length = min(length, len(f.Seconds))
	}
	least := math.Inf(1)
	for i := range length - seconds + 1 {
		least = min(least, answers(with, i)/max(answers(without, i), 1))
	}
	return least
}

// due is the number of requests that were due in a second.
func due(f *figures, second int) int {
	if second >= len(f.Seconds) {
		return 0
	}
	s := f.Seconds[second]
	return s.Unsent + s.Count(loadgen.Answered) + s.Count(loadgen.Refused) + s.Count(loadgen.TimedOut) + s.Count(loadgen.Failed)
}

// seconds returns the whole seconds of a part of a run.
func seconds(from, to time.Duration) (first, end int) {
	return int(math.Ceil(from.Seconds())), int(to.Seconds())
}

// goodput is the rate of answers to requests that were due in the whole seconds of a part of a run;
// NaN if it has no whole second.
func goodput(f *figures, from, to time.Duration) float64 {
	first, end := seconds(from, to)
	n := 0
	for i := first; i < min(end, len(f.Seconds)); i++ {
		n += f.Seconds[i].Count(loadgen.Answered)
	}
	if end <= first {
		return math.NaN()
	}
	return float64(n) / float64(end-first)
}

// back is the number of seconds from the end of an overload to the first second in which 95 % of
// the requests are answered; infinite if there is none.
func back(f *figures, ended time.Duration) float64 {
	first, _ := seconds(ended, 0)
	for i := first; i < len(f.Seconds); i++ {
		if n := due(f, i); n > 0 && float64(f.Seconds[i].Count(loadgen.Answered)) >= 0.95*float64(n) {
			return float64(i + 1 - first)
		}
	}
	return math.Inf(1)
}
