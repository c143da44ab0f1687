// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// The capacity of three servers, in requests a second, and the share of a CPU of each.
const (
	overloadShare    = 0.2
	overloadCapacity = 3 * overloadShare * 1000 / requestWork
)

// timeout is the timeout of clients of an overloaded site.
const timeout = time.Second

// openLoop is the scenario of the experiments with an open loop.
func openLoop(l *lab, round int, before string, length time.Duration, stages ...loadgen.Stage) scenario {
	return scenario{
		clients: 4, backends: hosts(overloadShare, overloadShare, overloadShare),
		behavior: testbed.Behavior{Work: l.work(requestWork)},
		site: func(s *stage) string {
			return fmt.Sprintf("%s\nreverse_proxy {\ndynamic pool {\nto%s\n}\nlb_policy least_request\n}", before, s.addresses())
		},
		load: loadgen.Config{
			Schedule: loadgen.Stages(uint64(round+1), stages...), WarmUp: l.seconds(warmUp), Length: length, Timeout: timeout, MaxInFlight: 8000,
		},
	}
}

// shedding compares load shedding with none.
func shedding() experiment {
	with := func(before string) func(*lab, int) scenario {
		return func(l *lab, round int) scenario {
			length := l.seconds(12)
			return openLoop(l, round, before, length,
				loadgen.Stage{Rate: overloadCapacity / 2, Length: l.seconds(warmUp)}, loadgen.Stage{Rate: 2 * overloadCapacity, Length: length})
		}
	}
	x := experiment{
		name: "shedding", title: "Load shedding: none, hard and exponential",
		setup: fmt.Sprintf("Three servers with 20 %% of a CPU each answer %.0f requests a second; clients send twice as many for 12 s, "+
			"at random, and leave after 1 s. No shedding; a hard limit of 12 requests in flight (shed fixed 12); "+
			"refusals that grow beyond 12 (shed exponential 12); and an adaptive limit (shed).", float64(overloadCapacity)),
		origin: "None, hard and exponential shedding on three servers, by response time of the answers, useful work, and errors by second. " +
			"The direction is known, that shedding keeps answers fast and useful; the figures are not.",
		variants: []variant{
			{"none", with("")}, {"hard", with("shed fixed 12")}, {"exponential", with("shed exponential 12")}, {"adaptive", with("shed")},
		},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		for _, name := range x.names()[1:] {
			faster := of(r[name], medianLatency).Over(of(r["none"], medianLatency))
			more := of(r[name], throughput).Over(of(r["none"], throughput))
			useful := of(r[name], func(t *trial) float64 { return 100 * throughput(t) / overloadCapacity })
			e.Findings = append(e.Findings,
				report.Finding{Claim: "With " + name + " shedding the median response time is lower than without",
					Reported: "lower", Seen: faster.String() + " times", Pass: faster.Median() < 1},
				report.Finding{Claim: "With " + name + " shedding more requests are answered in time than without",
					Reported: "more useful work", Seen: fmt.Sprintf("%s times, %s %% of the capacity", more, useful), Pass: more.Median() > 1})
		}
		e.Tables = []report.Table{summary(x.names(), r)}
		e.Remarks = []string{"Latency and the second of an error count from when a request was due. A request that times out has cost its server work all the same."}
		l.charts(e, x.names(), r)
		l.chart(e, "errors", "Requests without an answer, a second: refused at once, or timed out after 1 s", report.Chart{
			Title: "Errors", X: "time (s)", Y: "refused and timed out (1/s)",
			Series: lines(x.names(), r, func(t []*trial) []report.Point {
				return overTime(t, rateOf(len(t), loadgen.Refused, loadgen.TimedOut, loadgen.Failed))
			}),
		})
	}
	return x
}

// The workers of the servers whose capacity changes, and their time for a request.
const (
	workers    = 2
	workerTime = 50 * time.Millisecond
)

// adaptive changes the capacity of the servers, which a fixed limit does not follow.
func adaptive() experiment {
	const third = 7 // seconds
	with := func(before string) func(*lab, int) scenario {
		return func(l *lab, round int) scenario {
			step := l.seconds(third)
			sc := openLoop(l, round, before, 3*step,
				loadgen.Stage{Rate: overloadCapacity / 2, Length: l.seconds(warmUp)}, loadgen.Stage{Rate: 1.5 * overloadCapacity, Length: 3 * step})
			sc.backends, sc.behavior = hosts(0, 0, 0), testbed.Behavior{Wait: workerTime}
			sc.workers = workers
			slow := func(factor int) func(s *stage) error {
				return func(s *stage) error {
					for _, b := range s.backends {
						if err := b.Set(testbed.Behavior{Wait: time.Duration(factor) * workerTime}); err != nil {
							return err
						}
					}
					return nil
				}
			}
			sc.events = []event{{step, slow(3)}, {2 * step, slow(1)}}
			return sc
		}
	}
	x := experiment{
		name: "adaptive", title: "Adaptive shedding while the servers become slow",
		setup: fmt.Sprintf("Three servers with two workers each, who take 50 ms, answer %.0f requests a second; clients send 1.5 times as many for 21 s, at random, and leave after 1 s. "+
			"From 7 s to 14 s a request takes three times as long. No shedding; a limit of 100 in flight, which is right for the first 7 s "+
			"(%.0f ms at full speed); and an adaptive limit, which is told nothing.", float64(overloadCapacity), 100/float64(overloadCapacity)*1000),
		variants: []variant{{"none", with("")}, {"fixed limit of 100", with("shed fixed 100")}, {"adaptive", with("shed")}},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		step := l.seconds(third)
		slow := between(step, 2*step, loadgen.Answered)
		after := between(2*step, 3*step, loadgen.Answered)
		more := of(r["adaptive"], slow).Over(of(r["fixed limit of 100"], slow))
		useful := of(r["adaptive"], func(t *trial) float64 { return 100 * slow(t) / (overloadCapacity / 3) })
		again := of(r["adaptive"], func(t *trial) float64 { return 100 * after(t) / overloadCapacity })
		e.Findings = []report.Finding{
			{Claim: "While servers are slow, an adaptive limit has at least 1.5 times the answers in time of the fixed one", Seen: fmt.Sprintf("%s against %s a second", of(r["adaptive"], slow), of(r["fixed limit of 100"], slow)), Pass: more.Median() >= 1.5},
			{Claim: "While servers are slow, an adaptive limit uses at least 70 % of the capacity that is left", Seen: useful.String() + " %", Pass: useful.Median() >= 70},
			{Claim: "When they are fast again, it uses at least 70 % of the whole capacity", Seen: again.String() + " %", Pass: again.Median() >= 70},
		}
		e.Tables = []report.Table{summary(x.names(), r)}
		l.charts(e, x.names(), r, report.Band{Name: "servers slow", From: step.Seconds(), To: 2 * step.Seconds()})
	}
	return x
}
