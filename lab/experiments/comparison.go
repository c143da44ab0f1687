// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/report"
)

// comparisons are the experiments that compare HAProxy, nginx, Caddy alone and Ballast.
func comparisons() []experiment {
	return []experiment{
		oneSlow(), twoSlow(), killed(), hung(), overloaded(), stragglers(), rolling(), raw(),
	}
}

// ours is the name of Ballast in comparisons.
var ours = peers.Ballast.Name

// clientTimeout is the timeout of the clients of comparisons.
const clientTimeout = 2 * time.Second

// versus returns the variants of a scenario with one balancer each.
func versus(all []*peers.Peer, sc func(l *lab, round int) scenario) (variants []variant) {
	for _, p := range all {
		variants = append(variants, variant{p.Name, func(l *lab, round int) scenario {
			s := sc(l, round)
			s.peer = p
			return s
		}})
	}
	return variants
}

// settings returns one remark for each balancer: its settings, and where they are documented.
// limited is for sites with a limit.
func settings(all []*peers.Peer, limited bool) (remarks []string) {
	for _, p := range all {
		stated := p.Settings
		if limited {
			stated = append(stated[:len(stated):len(stated)], p.LimitSettings...)
		}
		var texts, sources []string
		for _, s := range stated {
			texts = append(texts, s.Text)
			if !slices.Contains(sources, s.Source) {
				sources = append(sources, s.Source)
			}
		}
		remarks = append(remarks, fmt.Sprintf("Settings of %s: %s. Documented at %s.", p.Name, strings.Join(texts, "; "), strings.Join(sources, ", ")))
	}
	return remarks
}

// each formats a measure of all variants in one line.
func each(names []string, r results, measure func(*trial) float64) string {
	var all []string
	for _, name := range names {
		if len(r[name]) > 0 {
			all = append(all, name+" "+of(r[name], measure).String())
		}
	}
	return strings.Join(all, "; ")
}

// others returns a measure of all installed balancers except Ballast.
func others(names []string, r results, measure func(*trial) float64) (figures []report.Figure) {
	for _, name := range names {
		if !strings.HasPrefix(name, ours) && len(r[name]) > 0 {
			figures = append(figures, of(r[name], measure))
		}
	}
	return figures
}

// noMoreThan claims that a measure of Ballast is at most factor times that of each other balancer. It is
// unknown if the median of another one is lower, and the rounds overlap.
func noMoreThan(claim string, factor float64, names []string, r results, measure func(*trial) float64) report.Finding {
	own := of(r[ours], measure)
	f := report.Finding{Claim: claim, Seen: each(names, r, measure), Pass: len(own) > 0}
	for _, other := range others(names, r, measure) {
		if len(own) == 0 || own.Median() <= factor*other.Median() {
			continue
		}
		f.Pass = false
		if f.Unknown = slices.Min(own) <= factor*slices.Max(other); !f.Unknown {
			break
		}
	}
	return f
}

// atLeast claims that a measure of a balancer is above 0 and at least factor times that of each
// installed one of others.
func atLeast(claim string, factor float64, name string, others []*peers.Peer, r results, measure func(*trial) float64) report.Finding {
	own, names := of(r[name], measure).Median(), []string{name}
	f := report.Finding{Claim: claim, Pass: own > 0}
	for _, p := range others {
		if p.Name == name || len(r[p.Name]) == 0 {
			continue
		}
		names = append(names, p.Name)
		f.Pass = f.Pass && own >= factor*of(r[p.Name], measure).Median()
	}
	f.Seen = each(names, r, measure)
	return f
}

// serves claims that Ballast answers a share of the requests, in percent.
func serves(least float64, names []string, r results) report.Finding {
	share := func(t *trial) float64 { return 100 * answers(t) / float64(max(t.Due(), 1)) }
	return report.Finding{
		Claim: fmt.Sprintf("Ballast answers at least %g %% of the requests", least),
		Seen:  each(names, r, share) + " %", Pass: of(r[ours], share).Median() >= least,
	}
}

// p999Latency is the 99.9th percentile of the latency in milliseconds.
func p999Latency(t *trial) float64 { return millis(t.Latency(0.999)) }

// slowOrLost is the share of requests that were not answered within a time, in percent.
func slowOrLost(within time.Duration) func(*trial) float64 {
	return func(t *trial) float64 {
		n := 0
		for _, s := range t.samples {
			if s.Outcome != loadgen.Answered || s.Latency > within {
				n++
			}
		}
		return 100 * float64(n) / float64(max(len(t.samples), 1))
	}
}

// serverShare is the share of some backends in the answers, in percent.
func serverShare(backends ...string) func(*trial) float64 {
	return func(t *trial) float64 {
		n := 0
		for _, b := range backends {
			n += t.Servers[b]
		}
		return 100 * float64(n) / max(answers(t), 1)
	}
}

// column is an additional column of the table of a comparison.
type column struct {
	header string
	value  func(*trial) float64
}

// compared is the table of a comparison.
func compared(names []string, r results, more ...column) report.Table {
	columns := append([]column{
		{"answers/s", throughput}, {"median ms", medianLatency}, {"p99 ms", p99Latency}, {"p99.9 ms", p999Latency},
		{"not answered", func(t *trial) float64 { return float64(t.Due()) - answers(t) }},
	}, more...)
	table := report.Table{Caption: "Median of the rounds, with the least and the greatest", Header: []string{"balancer"}}
	for _, c := range columns {
		table.Header = append(table.Header, c.header)
	}
	for _, name := range names {
		row := []string{name}
		for _, c := range columns {
			row = append(row, of(r[name], c.value).String())
		}
		table.Rows = append(table.Rows, row)
	}
	return table
}

// distributions draws the latency distributions of all balancers.
func (l *lab) distributions(e *report.Experiment, names []string, r results) {
	l.chart(e, "cdf", "Distribution of response times of all rounds; requests without an answer are not in it", report.Chart{
		Title: "Distribution of response times", X: "response time (ms)", Y: "answers up to this time (%)", LogX: true, MaxY: 100,
		Series: lines(names, r, distribution),
	})
}

// lost draws the rate of requests without an answer over time.
func (l *lab) lost(e *report.Experiment, names []string, r results, bands ...report.Band) {
	l.chart(e, "errors", "Requests that were sent in each half second and got no answer, a second", report.Chart{
		Title: "Requests without an answer", X: "time (s)", Y: "not answered (1/s)", Bands: bands,
		Series: lines(names, r, func(t []*trial) []report.Point {
			return overTime(t, rateOf(len(t), loadgen.Refused, loadgen.Failed, loadgen.TimedOut))
		}),
	})
}

// openTo is the scenario of most comparisons: backends that sleep, and an open loop.
func openTo(l *lab, round, backends int, rate, seconds float64) scenario {
	return scenario{
		clients: 4, backends: hosts(make([]float64, backends)...),
		load: loadgen.Config{
			Schedule: loadgen.Poisson(rate, uint64(round+1)), WarmUp: l.seconds(warmUp), Length: l.seconds(seconds), Timeout: clientTimeout,
		},
	}
}
