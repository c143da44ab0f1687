// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// scenario describes backends, balancers and loads. It is read-only while it runs.
type scenario struct {
	name string
	// backends is the number of backends, and workers that of each; behavior is how these serve
	// requests.
	backends, workers int
	behavior          testbed.Behavior
	kinds             []kind
	loads             []load
	// length is the time for which the requests of a step count, after the warm-up.
	warm, length time.Duration
	// rounds is how often each step is measured, and tries how often at most if other processes use
	// the CPUs.
	rounds, tries int
	// print prints the results.
	print func(to io.Writer, s *scenario, r results)
}

// scenarios returns all scenarios, in the order in which they run.
func scenarios() []*scenario { return []*scenario{overload(), stragglers(), surge()} }

// capacity is the capacity of the backends in requests a second.
func (s *scenario) capacity() float64 {
	b := s.behavior
	mean := (1-b.Stragglers)*b.Wait.Seconds() + b.Stragglers*b.StragglerWait.Seconds()
	return float64(s.backends*s.workers) / mean
}

// String describes the backends.
func (s *scenario) String() string {
	text := fmt.Sprintf("%s: %d backends with %d workers each, who take %v for a request", s.name, s.backends, s.workers, s.behavior.Wait)
	if s.behavior.Stragglers > 0 {
		text += fmt.Sprintf(", and %v for %g %% of them at random", s.behavior.StragglerWait, 100*s.behavior.Stragglers)
	}
	return text + fmt.Sprintf(": together %.0f a second.", s.capacity())
}

// load is the offered load of a step: successive parts.
type load []part

// part is a part of a load.
type part struct {
	// times is the rate as a multiple of the capacity.
	times float64
	// share is the share of the step's length; the shares of a load add up to 1.
	share float64
}

// steady returns a constant load.
func steady(times float64) load { return load{{times, 1}} }

// String names the load in tables.
func (l load) String() string {
	var words []string
	for _, p := range l {
		words = append(words, fmt.Sprintf("%g", p.times))
	}
	return strings.Join(words, ", ") + " times"
}

// end returns the end of a part, from the end of the warm-up.
func (l load) end(i int, length time.Duration) time.Duration {
	var sum float64
	for _, p := range l[:i+1] {
		sum += p.share
	}
	return time.Duration(sum * float64(length))
}

// schedule returns a Poisson schedule or, with fixed and a constant load, one with equal intervals.
// The warm-up has the rate of the first part.
func (l load) schedule(s *scenario, seed uint64, fixed bool) loadgen.Schedule {
	if fixed && len(l) == 1 {
		return loadgen.Fixed(l[0].times * s.capacity())
	}
	var stages []loadgen.Stage
	for _, p := range l {
		stages = append(stages, loadgen.Stage{Rate: p.times * s.capacity(), Length: time.Duration(p.share * float64(s.length))})
	}
	stages[0].Length += s.warm
	return loadgen.Stages(seed, stages...)
}

// figures are the results of a step.
type figures struct {
	*loadgen.Result
	peak int           // highest number of requests in flight on a backend, including the warm-up
	cpu  time.Duration // of the balancer, including the warm-up
	// attempts is the number of requests to the backends, including the warm-up.
	attempts int64
	// others is the share of the CPUs that other processes used.
	others float64
}

// results are the figures of all steps.
type results map[step][]*figures

// step is a load on one balancer.
type step struct{ load, kind string }

// each measures all rounds of a step.
func (r results) each(l load, k kind, measure func(*figures) float64) report.Figure {
	return report.NewFigure(r[step{l.String(), k.name}], measure)
}

// extra is the number of attempts beyond the requests of clients, in percent of these. It is
// negative if balancers refused requests.
func (f *figures) extra() float64 {
	return 100 * float64(f.attempts-int64(f.Sent)) / float64(max(f.Sent, 1))
}

// perRequest is the attempts for each request that was sent.
func (f *figures) perRequest() float64 { return float64(f.attempts) / float64(max(f.Sent, 1)) }

// cost is the CPU time of the balancer per request, in microseconds.
func (f *figures) cost() float64 { return f.cpu.Seconds() * 1e6 / float64(max(f.Sent, 1)) }

// percent is a number as a percentage of the due requests.
func (f *figures) percent(n int) float64 { return 100 * float64(n) / float64(max(f.Due(), 1)) }

// latency returns a measure: a quantile of the latencies, in milliseconds.
func latency(q float64) func(*figures) float64 {
	return func(f *figures) float64 { return f.Latency(q).Seconds() * 1e3 }
}

// lost is the share of the requests without an answer in time, in percent.
func lost(f *figures) float64 { return f.percent(f.Due() - f.Count(loadgen.Answered)) }

// late is the share of requests that the load generator sent late or not at all, in percent.
func late(f *figures) float64 { return f.percent(f.Late + f.Unsent) }

// busy is the share of the CPUs that other processes used, in percent.
func busy(f *figures) float64 { return 100 * f.others }
