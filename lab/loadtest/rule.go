// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/report"
)

// A rate is sustained if this share of the requests is answered, 99 % of them within this time
// after they were due. Above the capacity the queue grows: 2 % above it, the wait exceeds the bound
// after 5 s.
const (
	sustainedShare = 0.99
	sustainedP99   = 100 * time.Millisecond
)

// sample is one measurement at a rate.
type sample struct {
	due, answered int
	length        time.Duration
	p50, p99      time.Duration // since requests were due
	cpu           time.Duration // of the balancer, per request
	memory        float64       // of the balancer, resident, in bytes
	memoryEach    float64       // per connection, in bytes
	late          int           // requests that the generator sent late
	others        float64       // share of the CPUs that other processes used
}

// The measures of a sample, in the units of the tables.
func (s sample) rate() float64      { return float64(s.answered) / max(s.length.Seconds(), 1e-9) }
func (s sample) percent() float64   { return 100 * float64(s.answered) / max(float64(s.due), 1) }
func (s sample) medianMS() float64  { return s.p50.Seconds() * 1e3 }
func (s sample) p99MS() float64     { return s.p99.Seconds() * 1e3 }
func (s sample) micros() float64    { return s.cpu.Seconds() * 1e6 }
func (s sample) megabytes() float64 { return s.memory / (1 << 20) }
func (s sample) kilobytes() float64 { return s.memoryEach / (1 << 10) }

// sustained reports whether the medians of all rounds meet the rule.
func sustained(rounds ...sample) bool {
	return report.NewFigure(rounds, sample.percent).Median() >= 100*sustainedShare &&
		report.NewFigure(rounds, sample.p99MS).Median() <= sustainedP99.Seconds()*1e3
}

// rates returns the rates to try: the intended one, then halved three times.
func rates(intended float64) []float64 {
	return []float64{intended, intended / 2, intended / 4, intended / 8}
}

// highestSustained returns the first of falling rates that is sustained; 0 if none is. Lower rates
// are not measured.
func highestSustained(rates []float64, measure func(rate float64) (sample, error)) (float64, error) {
	for _, rate := range rates {
		s, err := measure(rate)
		if err != nil {
			return 0, err
		}
		if sustained(s) {
			return rate, nil
		}
	}
	return 0, nil
}

// limits are the highest tried rates that the machine sustains without Ballast; 0 if it sustains
// none.
type limits struct {
	cpus               int
	connections        int
	intended           float64
	direct, plainCaddy float64
	others             float64 // share of the CPUs that other processes used
}

// comparedAt is the rate of the comparison: the one that plain Caddy sustains, or else the lowest.
func (l limits) comparedAt() float64 {
	if l.plainCaddy > 0 {
		return l.plainCaddy
	}
	tried := rates(l.intended)
	return tried[len(tried)-1]
}

// findings reports whether Ballast sustains the intended rate, or that the machine cannot show it;
// and whether it sustains the same rate as plain Caddy.
func (l limits) findings(ballast, plainCaddy []sample) (all []report.Finding) {
	claim := fmt.Sprintf("Ballast sustains %.0f requests a second on %d connections", l.intended, l.connections)
	if l.plainCaddy < l.intended {
		all = append(all, report.Finding{Claim: claim, Unknown: true, Seen: fmt.Sprintf(
			"%.0f/s cannot be shown on this machine: %d CPUs, plain Caddy sustains %s, and backends without a balancer %s, while other processes use %.0f %% of the CPUs",
			l.intended, l.cpus, l.text(l.plainCaddy), l.text(l.direct), 100*l.others)})
		claim = fmt.Sprintf("Ballast sustains the %.0f requests a second that plain Caddy sustains", l.plainCaddy)
	}
	if l.plainCaddy == 0 {
		return all
	}
	f := report.Finding{Claim: claim, Seen: fmt.Sprintf("Ballast %s; plain Caddy %s", answers(ballast), answers(plainCaddy))}
	switch {
	case sustained(ballast...):
		f.Pass, f.Seen = true, "shown: "+f.Seen
	case !sustained(plainCaddy...):
		f.Unknown, f.Seen = true, "plain Caddy does not sustain it either, in turn with Ballast: "+f.Seen
	}
	return append(all, f)
}

// text formats a limit.
func (l limits) text(rate float64) string {
	if rate == 0 {
		return fmt.Sprintf("less than %.0f/s", l.comparedAt())
	}
	return fmt.Sprintf("%.0f/s", rate)
}

func answers(rounds []sample) string {
	return fmt.Sprintf("%s %% answered, p99 %s ms", report.NewFigure(rounds, sample.percent), report.NewFigure(rounds, sample.p99MS))
}

// tooBusy is the share of the CPUs of other processes above which latencies are not meaningful.
const tooBusy = 0.25

// undisturbed makes a finding on latencies unknown if other processes used too large a share of the
// CPUs, from 0 to 1.
func undisturbed(f report.Finding, others float64) report.Finding {
	if others > tooBusy && !f.Unknown {
		f.Unknown, f.Seen = true, fmt.Sprintf("other processes used %.0f %% of the CPUs: %s", 100*others, f.Seen)
	}
	return f
}

// ratio is the ratio of a measure of two subjects, round by round.
func ratio(rounds, base []sample, measure func(sample) float64) report.Figure {
	return report.NewFigure(rounds, measure).Over(report.NewFigure(base, measure))
}

// noMoreThan claims that a measure of Ballast is at most factor times that of plain Caddy. A
// measure that the system does not provide is 0. The claim is unknown if the rounds disagree and
// most are above the factor: at a low rate, one more garbage collection changes the CPU time much.
func noMoreThan(what string, factor float64, ballast, plainCaddy []sample, measure func(sample) float64) report.Finding {
	r := ratio(ballast, plainCaddy, measure)
	f := report.Finding{Claim: fmt.Sprintf("%s at most %g times that of plain Caddy", what, factor),
		Seen: r.String() + " times", Pass: r.Median() <= factor, Unknown: r.Median() == 0}
	if !f.Pass && !f.Unknown && len(r) > 0 && slices.Min(r) <= factor {
		f.Unknown, f.Seen = true, "the rounds disagree: "+f.Seen
	}
	return f
}
