// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/report"
)

// experiment compares variants of a scenario. They take turns, so that other load on the machine
// affects all of them.
type experiment struct {
	name, title string
	// setup describes the experiment, and origin the results of the published one.
	setup, origin string
	variants      []variant
	// comparison marks comparisons with other balancers.
	comparison bool
	// judge adds findings, tables and plots, and remarks.
	judge func(l *lab, r results, e *report.Experiment)
}

// variant is one of the compared scenarios.
type variant struct {
	name     string
	scenario func(l *lab, round int) scenario
}

// results are the trials of each variant, one for each round.
type results map[string][]*trial

// experiments returns all experiments, in the order in which they run.
func experiments() []experiment {
	return append([]experiment{
		oneOrThree(), failover(), policies(), weights(), shedding(), sessions(), goingHome(), adaptive(), hang(),
	}, comparisons()...)
}

// run runs all rounds of an experiment.
func (l *lab) run(ctx context.Context, x experiment) report.Experiment {
	e := report.Experiment{Name: x.name, Title: x.title, Setup: x.setup, Origin: x.origin}
	r := make(results)
	missing := make(map[string]bool)
	for round := range l.rounds {
		for turn := range x.variants {
			v := x.variants[(round+turn)%len(x.variants)]
			fmt.Fprintf(l.progress, "%s, round %d of %d: %s\n", x.name, round+1, l.rounds, v.name)
			sc := v.scenario(l, round)
			if sc.peer != nil {
				if _, err := sc.peer.Find(l.caddy); err != nil {
					missing[v.name] = true
					continue
				}
			}
			t, err := l.play(ctx, sc)
			if err != nil {
				e.Error = fmt.Sprintf("%s: %v", v.name, err)
				return e
			}
			r[v.name] = append(r[v.name], t)
		}
	}
	x.judge(l, r, &e)
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		e.Remarks = append(e.Remarks, name+" is not installed here and was left out.")
	}
	busiest := 0.0
	unsent, late := 0, 0
	for _, trials := range r {
		for _, t := range trials {
			busiest = max(busiest, t.others)
			unsent += t.Unsent
			late += t.Late
		}
	}
	if busiest > 0.15 {
		e.Remarks = append(e.Remarks, fmt.Sprintf("Other processes used up to %.0f %% of the machine meanwhile.", 100*busiest))
	}
	if unsent+late > 0 {
		e.Remarks = append(e.Remarks, fmt.Sprintf("The load generator sent %d requests more than 10 ms late and %d not at all.", late, unsent))
	}
	return e
}

// names returns the names of the variants, in order.
func (x experiment) names() (all []string) {
	for _, v := range x.variants {
		all = append(all, v.name)
	}
	return all
}

// summary is the table of most experiments.
func summary(names []string, r results) report.Table {
	table := report.Table{
		Caption: "Median of the rounds, with the least and the greatest",
		Header:  []string{"", "answers/s", "median ms", "p99 ms", "refused/s", "timed out/s", "failed/s"},
	}
	for _, name := range names {
		rate := func(o loadgen.Outcome) string {
			return of(r[name], func(t *trial) float64 { return t.Rate(t.Count(o)) }).String()
		}
		table.Rows = append(table.Rows, []string{
			name, of(r[name], throughput).String(), of(r[name], medianLatency).String(), of(r[name], p99Latency).String(),
			rate(loadgen.Refused), rate(loadgen.TimedOut), rate(loadgen.Failed),
		})
	}
	return table
}

// lines returns one series for each variant.
func lines(names []string, r results, points func([]*trial) []report.Point) (all []report.Series) {
	for _, name := range names {
		all = append(all, report.Series{Name: name, Points: points(r[name])})
	}
	return all
}

// charts draws the plots of most experiments: response times and answers over time, and the
// distribution of response times.
func (l *lab) charts(e *report.Experiment, names []string, r results, bands ...report.Band) {
	l.chart(e, "rtt", "Median response time of the answers to requests that were sent in each half second", report.Chart{
		Title: "Response time", X: "time (s)", Y: "median response time (ms)", Bands: bands,
		Series: lines(names, r, func(t []*trial) []report.Point { return overTime(t, medianOf) }),
	})
	l.chart(e, "throughput", "Answers a second, by half second, mean of the rounds", report.Chart{
		Title: "Throughput", X: "time (s)", Y: "answers (1/s)", Bands: bands,
		Series: lines(names, r, func(t []*trial) []report.Point { return overTime(t, rateOf(len(t), loadgen.Answered)) }),
	})
	l.chart(e, "cdf", "Distribution of response times of all rounds", report.Chart{
		Title: "Distribution of response times", X: "response time (ms)", Y: "answers up to this time (%)", LogX: true, MaxY: 100,
		Series: lines(names, r, distribution),
	})
}

// shares draws the shares of the backends in the answers.
func (l *lab) shares(e *report.Experiment, names []string, r results, backends []string) {
	var bars []report.Bars
	for _, name := range names {
		values := make([]float64, len(backends))
		all := 0
		for _, t := range r[name] {
			for i, b := range backends {
				values[i] += float64(t.Servers[b])
				all += t.Servers[b]
			}
		}
		for i := range values {
			values[i] *= 100 / float64(max(all, 1))
		}
		bars = append(bars, report.Bars{Name: name, Values: values})
	}
	l.chart(e, "shares", "Share of each backend in the answers of all rounds", report.BarChart{
		Title: "Answers by backend", X: "backend", Y: "share of answers (%)", Groups: backends, Series: bars,
	})
}

// numbered returns backend1, backend2, …
func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("backend%d", i+1))
	}
	return names
}

// newReport returns an empty report of this machine, with the versions of the balancers. caddy is the path of a Caddy
// with Ballast.
func newReport(caddy string) *report.Report {
	r := &report.Report{Title: "Ballast: experiments", Machine: machine.Facts()}
	for _, p := range []*peers.Peer{peers.Caddy, peers.HAProxy, peers.Nginx} {
		if v := p.Version(caddy); v != "" {
			r.Machine = append(r.Machine, machine.Fact{Name: p.Name, Value: v})
		}
	}
	return r
}
