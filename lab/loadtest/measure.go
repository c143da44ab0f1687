// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

const (
	// fewConnections is the number of connections of the reference measurement.
	fewConnections = 100
	// latencyRate is the rate of the comparison of latencies, far below any capacity.
	latencyRate = 500
	// warmUp and search are the times for which a rate is tried.
	warmUp = time.Second
	search = 5 * time.Second
)

// subject is a balancer, or none for direct connections.
type subject struct {
	name string
	site string // directives of Caddy; "" without a balancer
}

// loadTest is a run.
type loadTest struct {
	options
	ctx     context.Context
	network *network.Network
	dir     string

	backends                    []*testbed.Backend
	direct, plainCaddy, ballast subject
}

// start starts the backends.
func (t *loadTest) start() error {
	var to string
	for _, node := range t.network.Backends() {
		b, err := testbed.StartBackend(t.network, node, t.dir, testbed.ServerConfig{})
		if err != nil {
			return err
		}
		t.backends = append(t.backends, b)
		to += " " + b.Address()
	}
	t.direct = subject{name: "direct"}
	t.plainCaddy = subject{"plain Caddy", "reverse_proxy" + to + " {\nlb_policy random_choose 2\n}"}
	t.ballast = subject{"Ballast", "reverse_proxy {\ndynamic pool {\nto" + to + "\nhealth http /health\n}\n}"}
	return nil
}

// target is a running subject.
type target struct {
	subject
	url     string
	process *testbed.Process // nil without a balancer
}

// with starts a subject, so that it has no memory and no connections of an earlier measurement, and
// ends it after f.
func (t *loadTest) with(s subject, f func(target) error) error {
	if s.site == "" {
		return f(target{s, "http://" + t.backends[0].Address() + "/", nil})
	}
	address, err := testbed.Address(t.network, t.network.Balancer())
	if err != nil {
		return err
	}
	p, err := testbed.StartCaddy(t.network.Balancer(), t.caddy, t.dir, testbed.Caddyfile(address, "", s.site), address)
	if err != nil {
		return err
	}
	defer p.Kill()
	return f(target{s, "http://" + address + "/", p})
}

// connect opens connections to a target.
func (t *loadTest) connect(to target, many int) (*connections, error) {
	return connect(t.ctx, t.network.Clients(), to.name, to.url, many)
}

// measure sends requests over connections, and measures the target.
func (t *loadTest) measure(to target, c *connections, rate float64, length time.Duration) (*loadgen.Result, sample, error) {
	var pids []int
	for _, b := range t.backends {
		pids = append(pids, b.Pid())
	}
	var cpu time.Duration
	if to.process != nil {
		pids = append(pids, to.process.Pid())
		cpu = machine.CPUTime(to.process.Pid())
	}
	meter := machine.NewMeter(pids...)
	r := c.send(t.ctx, rate, warmUp, length)
	s := sample{due: r.Due(), answered: r.Count(loadgen.Answered), length: r.Length, p50: r.Latency(0.5), p99: r.Latency(0.99), late: r.Late, others: meter.Others()}
	if to.process != nil {
		s.memory = float64(machine.ResidentMemory(to.process.Pid()))
		s.cpu = time.Duration(float64(machine.CPUTime(to.process.Pid())-cpu) / max(rate*(warmUp+length).Seconds(), 1))
	}
	return r, s, t.ctx.Err()
}

// run makes all measurements: the rate that the machine sustains without Ballast, the comparison at
// that rate, and latencies at a low rate.
func (t *loadTest) run(e *report.Experiment) error {
	found, err := t.search(e)
	if err != nil {
		return err
	}
	if err := t.compare(e, found); err != nil {
		return err
	}
	if err := t.latencies(e); err != nil {
		return err
	}
	return t.crossCheck(e)
}

// search finds the highest rates that the backends and plain Caddy sustain.
func (t *loadTest) search(e *report.Experiment) (limits, error) {
	l := limits{cpus: runtime.NumCPU(), connections: t.connections, intended: t.rate}
	table := report.Table{
		Caption: fmt.Sprintf("What this machine sustains without Ballast, over %d connections: a rate is halved until %.0f %% of the requests are answered, with a p99 of at most %v from when they were due",
			t.connections, 100*sustainedShare, sustainedP99),
		Header: []string{"", "requests/s", "answers/s", "answered %", "p99 ms", "sustained"},
	}
	var others report.Figure
	find := func(s subject) (float64, error) {
		return highestSustained(rates(t.rate), func(rate float64) (seen sample, err error) {
			err = t.with(s, func(to target) error {
				c, err := t.connect(to, t.connections)
				if err != nil {
					return err
				}
				defer c.close()
				_, seen, err = t.measure(to, c, rate, search)
				return err
			})
			table.Rows = append(table.Rows, []string{s.name, fmt.Sprintf("%.0f", rate), report.Short(seen.rate()), report.Short(seen.percent()), report.Short(seen.p99MS()), yes(sustained(seen))})
			others = append(others, seen.others)
			return seen, err
		})
	}
	var err error
	if l.direct, err = find(t.direct); err != nil {
		return l, err
	}
	l.plainCaddy, err = find(t.plainCaddy)
	l.others = others.Median()
	e.Tables = append(e.Tables, table)
	return l, err
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// compare measures all subjects at the rate that plain Caddy sustains, in turn.
func (t *loadTest) compare(e *report.Experiment, found limits) error {
	subjects := []subject{t.direct, t.plainCaddy, t.ballast}
	seen := make(map[string][]sample)
	rate, few := found.comparedAt(), min(fewConnections, t.connections)
	stayed := report.Finding{Claim: fmt.Sprintf("%d connections to Ballast stay open, and each has answers", t.connections), Pass: true}
	for round := range t.rounds {
		for turn := range subjects {
			err := t.with(subjects[(round+turn)%len(subjects)], func(to target) error {
				var before sample
				if to.process != nil {
					c, err := t.connect(to, few)
					if err != nil {
						return err
					}
					_, before, err = t.measure(to, c, rate, 3*time.Second)
					c.close()
					if err != nil {
						return err
					}
				}
				c, err := t.connect(to, t.connections)
				if err != nil {
					return err
				}
				defer c.close()
				_, s, err := t.measure(to, c, rate, t.duration)
				if err != nil {
					return err
				}
				s.memoryEach = (s.memory - before.memory) / float64(max(t.connections-few, 1))
				seen[to.name] = append(seen[to.name], s)
				if to.name == t.ballast.name {
					stayed.Pass = stayed.Pass && c.stayed()
					stayed.Seen += fmt.Sprintf("%d opened, %d with answers; ", c.dials.Load(), c.answered.Load())
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	direct, plain, ballast := seen[t.direct.name], seen[t.plainCaddy.name], seen[t.ballast.name]
	e.Tables = append(e.Tables, t.figures(rate, subjects, seen), ratioTable(direct, plain, ballast))
	stayed.Seen = stayed.Seen[:len(stayed.Seen)-len("; ")]
	others := report.NewFigure(slices.Concat(direct, plain, ballast), func(s sample) float64 { return s.others })
	for _, f := range found.findings(ballast, plain) {
		e.Findings = append(e.Findings, undisturbed(f, others.Median()))
	}
	e.Findings = append(e.Findings, stayed,
		noMoreThan("The CPU time for a request is", 1.25, ballast, plain, sample.micros),
		noMoreThan("The memory for a connection is", 1.5, ballast, plain, sample.kilobytes),
		undisturbed(noMoreThan("The median latency is", 1.25, ballast, plain, sample.medianMS), others.Median()),
		undisturbed(noMoreThan("The p99 is", 2, ballast, plain, sample.p99MS), others.Median()))
	e.Remarks = append(e.Remarks, fmt.Sprintf("During the comparison other processes used %.0f %% of the CPUs (%.0f to %.0f %%).",
		100*others.Median(), 100*slices.Min(others), 100*slices.Max(others)))
	for _, s := range subjects {
		late := report.NewFigure(seen[s.name], func(s sample) float64 { return 100 * float64(s.late) / max(float64(s.due), 1) })
		if late.Median() >= 0.1 {
			e.Remarks = append(e.Remarks, fmt.Sprintf("%s: the generator sent %s %% of the requests more than 10 ms late, which is in the latencies: the machine is at its limit.", s.name, late))
		}
	}
	return nil
}

// figures is the table of the figures of all subjects.
func (t *loadTest) figures(rate float64, subjects []subject, seen map[string][]sample) report.Table {
	table := report.Table{
		Caption: fmt.Sprintf("%.0f requests a second at random over %d connections for %v: median of %d rounds in turn (least to greatest). Memory is what the process has resident, with garbage; for a connection, what it has more than with %d connections",
			rate, t.connections, t.duration, t.rounds, min(fewConnections, t.connections)),
		Header: []string{"", "answers/s", "answered %", "p50 ms", "p99 ms", "CPU µs a request", "memory MB", "KB a connection"},
	}
	for _, s := range subjects {
		row := []string{s.name}
		for i, measure := range []func(sample) float64{sample.rate, sample.percent, sample.medianMS, sample.p99MS, sample.micros, sample.megabytes, sample.kilobytes} {
			if s.site == "" && i >= 4 {
				row = append(row, "-") // no process
				continue
			}
			row = append(row, report.NewFigure(seen[s.name], measure).String())
		}
		table.Rows = append(table.Rows, row)
	}
	return table
}

// ratioTable compares the subjects round by round.
func ratioTable(direct, plain, ballast []sample) report.Table {
	row := func(name string, rounds, base []sample, measures ...func(sample) float64) []string {
		cells := []string{name}
		for _, m := range measures {
			cells = append(cells, ratio(rounds, base, m).String())
		}
		for len(cells) < 5 {
			cells = append(cells, "-")
		}
		return cells
	}
	return report.Table{
		Caption: "Ratios of these figures in the same round",
		Header:  []string{"", "p50", "p99", "CPU a request", "memory a connection"},
		Rows: [][]string{
			row("Ballast / plain Caddy", ballast, plain, sample.medianMS, sample.p99MS, sample.micros, sample.kilobytes),
			row("Ballast / direct", ballast, direct, sample.medianMS, sample.p99MS),
			row("plain Caddy / direct", plain, direct, sample.medianMS, sample.p99MS),
		},
	}
}

// latencies compares the latencies that both balancers add to direct connections, at a rate that
// leaves the machine mostly idle.
func (t *loadTest) latencies(e *report.Experiment) error {
	subjects := []subject{t.direct, t.plainCaddy, t.ballast}
	quantiles := []float64{0.5, 0.9, 0.99}
	seen := make(map[string][]report.Figure)
	var others report.Figure
	for round := range t.rounds {
		for turn := range subjects {
			err := t.with(subjects[(round+turn)%len(subjects)], func(to target) error {
				c, err := t.connect(to, 20)
				if err != nil {
					return err
				}
				defer c.close()
				r, s, err := t.measure(to, c, latencyRate, 5*time.Second)
				others = append(others, s.others)
				if seen[to.name] == nil {
					seen[to.name] = make([]report.Figure, len(quantiles))
				}
				for i, q := range quantiles {
					seen[to.name][i] = append(seen[to.name][i], r.ServiceTime(q).Seconds()*1e3)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	table := report.Table{
		Caption: fmt.Sprintf("Time from sending to the answer, ms, at %d requests a second over 20 connections: median of %d rounds (least to greatest), and what is added to direct connections in the same round", latencyRate, t.rounds),
		Header:  []string{"", "p50", "added", "p90", "added", "p99", "added"},
	}
	medians := make(map[string]report.Figure)
	for _, s := range subjects {
		row := []string{s.name}
		for i := range quantiles {
			figure, text := seen[s.name][i], "-"
			if s.site != "" {
				added := figure.Minus(seen[t.direct.name][i])
				text = added.String()
				if i == 0 {
					medians[s.name] = added
				}
			}
			row = append(row, figure.String(), text)
		}
		table.Rows = append(table.Rows, row)
	}
	e.Tables = append(e.Tables, table)
	more := medians[t.ballast.name].Over(medians[t.plainCaddy.name])
	e.Findings = append(e.Findings, undisturbed(report.Finding{Pass: more.Median() <= 1.5, Seen: more.String() + " times",
		Claim: fmt.Sprintf("At %d requests a second Ballast adds at most 1.5 times as much as plain Caddy to the median of direct connections", latencyRate)}, others.Median()))
	return nil
}
