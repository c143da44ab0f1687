// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/report"
)

// of measures all trials.
func of(trials []*trial, measure func(*trial) float64) report.Figure {
	return report.NewFigure(trials, measure)
}

// The measures of several experiments.
func medianLatency(t *trial) float64 { return millis(t.Latency(0.5)) }
func p99Latency(t *trial) float64    { return millis(t.Latency(0.99)) }
func throughput(t *trial) float64    { return t.Rate(t.Count(loadgen.Answered)) }
func answers(t *trial) float64       { return float64(t.Count(loadgen.Answered)) }
func failures(t *trial) float64 {
	return float64(t.Count(loadgen.Failed) + t.Count(loadgen.TimedOut))
}

// extraAttempts is the number of attempts beyond the requests of clients, in percent of these.
func extraAttempts(t *trial) float64 {
	n := -int64(t.Sent)
	for _, c := range t.counts {
		n += c.Requests
	}
	return 100 * float64(n) / float64(max(t.Sent, 1))
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// between is the rate per second of the requests with an outcome that were due in a part of a run.
func between(from, to time.Duration, outcome loadgen.Outcome) func(*trial) float64 {
	return func(t *trial) float64 {
		n := 0
		for _, s := range t.samples {
			if s.At >= from && s.At < to && s.Outcome == outcome {
				n++
			}
		}
		return float64(n) / (to - from).Seconds()
	}
}

// bin is the resolution of lines over time.
const bin = 500 * time.Millisecond

// overTime returns a line with one point for each half second: value is called with the requests of
// all rounds that were due in it. NaN draws no point.
func overTime(trials []*trial, value func(samples []loadgen.Sample) float64) (points []report.Point) {
	bins := make(map[int][]loadgen.Sample)
	last := 0
	for _, t := range trials {
		for _, s := range t.samples {
			i := int(s.At / bin)
			bins[i] = append(bins[i], s)
			last = max(last, i)
		}
	}
	for i := range last + 1 {
		if v := value(bins[i]); !math.IsNaN(v) {
			points = append(points, report.Point{X: (time.Duration(i) * bin).Seconds() + bin.Seconds()/2, Y: v})
		}
	}
	return points
}

// medianOf is the median latency of answered requests, in milliseconds.
func medianOf(samples []loadgen.Sample) float64 {
	var f report.Figure
	for _, s := range samples {
		if s.Outcome == loadgen.Answered {
			f = append(f, millis(s.Latency))
		}
	}
	return f.Median()
}

// rateOf is the rate per second and round of requests with one of the outcomes.
func rateOf(rounds int, outcomes ...loadgen.Outcome) func([]loadgen.Sample) float64 {
	return func(samples []loadgen.Sample) float64 {
		n := 0
		for _, s := range samples {
			if slices.Contains(outcomes, s.Outcome) {
				n++
			}
		}
		return float64(n) / bin.Seconds() / float64(max(rounds, 1))
	}
}

// shareOf is the share of a backend among the answers, in percent.
func shareOf(server func(*loadgen.Sample) bool) func([]loadgen.Sample) float64 {
	return func(samples []loadgen.Sample) float64 {
		n, all := 0, 0
		for _, s := range samples {
			if s.Outcome != loadgen.Answered {
				continue
			}
			all++
			if server(&s) {
				n++
			}
		}
		return 100 * float64(n) / float64(all) // NaN without answers
	}
}

// distribution returns the share of answers up to each latency, in percent, at 200 points.
func distribution(trials []*trial) (points []report.Point) {
	var all []float64
	for _, t := range trials {
		for _, s := range t.samples {
			if s.Outcome == loadgen.Answered {
				all = append(all, millis(s.Latency))
			}
		}
	}
	slices.Sort(all)
	const steps = 200
	for i := range min(steps, len(all)) {
		count := (i + 1) * len(all) / min(steps, len(all))
		points = append(points, report.Point{X: all[count-1], Y: 100 * float64(count) / float64(len(all))})
	}
	return points
}
