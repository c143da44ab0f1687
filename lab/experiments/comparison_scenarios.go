// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// slowSome is the scenario with some backends that are slower than the others from the start.
func slowSome(backends, slow, factor int, wait time.Duration, rate float64) func(*lab, int) scenario {
	return func(l *lab, round int) scenario {
		sc := openTo(l, round, backends, rate, 8)
		sc.behavior = testbed.Behavior{Wait: wait}
		sc.prepare = func(s *stage) error {
			for _, b := range s.backends[:slow] {
				if err := b.Set(testbed.Behavior{Wait: time.Duration(factor) * wait}); err != nil {
					return err
				}
			}
			return nil
		}
		return sc
	}
}

// slowness is the experiment with slow backends.
func slowness(name, title string, backends, slow, factor int, wait time.Duration, rate float64) experiment {
	x := experiment{
		name: name, title: title, comparison: true,
		setup: fmt.Sprintf("%d backends take %v for a request, %d of them %d times as long. Clients send %g requests a second at random for 8 s.",
			backends, wait, slow, factor, rate),
		variants: versus(peers.All, slowSome(backends, slow, factor, wait, rate)),
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		names := x.names()
		e.Findings = []report.Finding{
			serves(99, names, r),
			noMoreThan("Ballast's p99 is at most that of each other balancer (ms)", 1, names, r, p99Latency),
			noMoreThan("Ballast's median is at most 1.25 times that of each other balancer (ms)", 1.25, names, r, medianLatency),
		}
		e.Tables = []report.Table{compared(names, r, column{"% from slow backends", serverShare(numbered(slow)...)})}
		e.Remarks = append(settings(peers.All, false), "Only Ballast has a policy here that looks at response times (peak_ewma). The others count connections.")
		l.distributions(e, names, r)
	}
	return x
}

func oneSlow() experiment {
	return slowness("oneslow", "Balancers compared: one slow backend of eleven", 11, 1, 10, 20*time.Millisecond, 300)
}

func twoSlow() experiment {
	return slowness("twoslow", "Balancers compared: two backends of sixteen, 16 times slower", 16, 2, 16, 10*time.Millisecond, 400)
}

// failing is a scenario in which a backend fails from a quarter to six tenths of the run.
func failing(begin, end func(s *stage) error) func(*lab, int) scenario {
	return func(l *lab, round int) scenario {
		sc := openTo(l, round, 5, 200, 10)
		sc.behavior, sc.load.Length = testbed.Behavior{Wait: 20 * time.Millisecond}, failureLength(l)
		third := func(do func(s *stage) error) func(s *stage) error {
			return func(s *stage) error {
				s.victim = s.backends[2]
				return do(s)
			}
		}
		sc.events = []event{{sc.load.Length / 4, third(begin)}, {sc.load.Length * 6 / 10, third(end)}}
		return sc
	}
}

// failureLength is the length of runs with failures, which checks need some time to detect.
func failureLength(l *lab) time.Duration { return l.atLeast(5, 10) }

func failureBand(l *lab, name string) report.Band {
	return report.Band{Name: name, From: failureLength(l).Seconds() / 4, To: failureLength(l).Seconds() * 0.6}
}

// returned is the share of the failed backend in the answers of the last fifth of the run, in
// percent.
func returned(t *trial) float64 {
	n, all := 0, 0
	for _, s := range t.samples {
		if s.At >= t.Length*8/10 && s.Outcome == loadgen.Answered {
			all++
			if s.Server == t.victim {
				n++
			}
		}
	}
	return 100 * float64(n) / float64(max(all, 1))
}

func killed() experiment {
	x := experiment{
		name: "killed", title: "Balancers compared: a backend is killed and returns", comparison: true,
		setup: "Five backends take 20 ms. Clients send 200 requests a second at random for 10 s. " +
			"One backend is killed after 2.5 s and started again after 6 s.",
		variants: versus(peers.All, failing(
			func(s *stage) error { s.victim.Kill(); return nil },
			revive)),
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		names := x.names()
		e.Findings = []report.Finding{
			serves(99.9, names, r),
			noMoreThan("Ballast leaves no more requests without an answer than each other balancer", 1, names, r, failures),
			{Claim: "In the last fifth of the run the backend has at least half of its fair share of 20 % again", Seen: each(names, r, returned) + " %",
				Pass: of(r[ours], returned).Median() >= 10},
		}
		e.Tables = []report.Table{compared(names, r, column{"% of the backend at the end", returned})}
		e.Remarks = settings(peers.All, false)
		l.lost(e, names, r, failureBand(l, "one backend down"))
		l.distributions(e, names, r)
	}
	return x
}

func hung() experiment {
	hang := func(hang bool) func(s *stage) error {
		return func(s *stage) error { return s.victim.Set(testbed.Behavior{Wait: 20 * time.Millisecond, Hang: hang}) }
	}
	x := experiment{
		name: "hung", title: "Balancers compared: a backend hangs, and its health check succeeds", comparison: true,
		setup: "Five backends take 20 ms. Clients send 200 requests a second at random for 10 s, and leave after 2 s. " +
			"From 2.5 s to 6 s one backend accepts requests and answers none, except for health checks. Each balancer gives up on a response after 1 s and tries another.",
		variants: versus(peers.All, failing(hang(true), hang(false))),
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		names := x.names()
		delayed := slowOrLost(500 * time.Millisecond)
		e.Findings = []report.Finding{
			serves(99, names, r),
			noMoreThan("With Ballast no larger share of the requests takes over 500 ms or gets no answer than with each other balancer (%)", 1, names, r, delayed),
			{Claim: "In the last fifth of the run the backend has at least half of its fair share of 20 % again", Seen: each(names, r, returned) + " %",
				Pass: of(r[ours], returned).Median() >= 10},
		}
		e.Tables = []report.Table{
			compared(names, r, column{"% over 500 ms or lost", delayed}, column{"% of the backend at the end", returned})}
		e.Remarks = append(settings(peers.All, false), "Requests that hang count as connections, so least connections sends few more to that backend.")
		l.lost(e, names, r, failureBand(l, "one backend hangs"))
		l.distributions(e, names, r)
	}
	return x
}

// The capacity of three backends with workers, in requests a second.
const (
	limitedWorkers  = 4
	limitedTime     = 50 * time.Millisecond
	limitedCapacity = 3 * limitedWorkers * int(time.Second/limitedTime)
)

// refusals are the statuses with which balancers refuse requests. nginx sends 502.
var refusals = []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout}

func overloaded() experiment {
	all := append([]*peers.Peer{peers.Ballast, peers.BallastQueue}, peers.All[1:]...)
	x := experiment{
		name: "overloaded", title: "Balancers compared: three times overload", comparison: true,
		setup: fmt.Sprintf("Three backends with %d workers each, who take %v, answer %d requests a second. Clients send three times as many at random for 8 s, and leave after 1 s. "+
			"A refused request is not an answer. `make overload` has more degrees of overload.", limitedWorkers, limitedTime, limitedCapacity),
		variants: versus(all, func(l *lab, round int) scenario {
			sc := openTo(l, round, 3, 3*float64(limitedCapacity), 8)
			sc.load.Length = l.atLeast(6, 8) // answers after its end count too
			sc.behavior, sc.workers, sc.limit, sc.load.Timeout = testbed.Behavior{Wait: limitedTime}, limitedWorkers, limitedWorkers, timeout
			sc.target = func(_ int, t *loadgen.Target) { t.Refusals = refusals }
			return sc
		}),
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		names := x.names()
		useful := func(t *trial) float64 { return 100 * throughput(t) / float64(limitedCapacity) }
		rate := func(o loadgen.Outcome) func(*trial) float64 {
			return func(t *trial) float64 { return t.Rate(t.Count(o)) }
		}
		e.Findings = []report.Finding{
			atLeast("Ballast answers at least 0.9 times as many requests in time as each other balancer (% of the capacity)", 0.9, ours, peers.All, r, useful),
			atLeast("With a limit and a queue it answers at least 0.95 times as many as HAProxy with both (% of the capacity)", 0.95,
				peers.BallastQueue.Name, []*peers.Peer{peers.HAProxy}, r, useful),
		}
		e.Tables = []report.Table{compared(names, r, column{"% of capacity", useful}, column{"refused/s", rate(loadgen.Refused)}, column{"timed out/s", rate(loadgen.TimedOut)})}
		e.Remarks = append(settings(all, true), "All but Ballast's adaptive limit are told the number of workers. That one learns what the backends can do.")
		l.charts(e, names, r)
	}
	return x
}

func stragglers() experiment {
	all := append([]*peers.Peer{peers.Ballast, peers.BallastHedgeMore}, peers.All[1:]...)
	hedged := peers.BallastHedgeMore.Name
	x := experiment{
		name: "stragglers", title: "Balancers compared: some requests take long on any backend", comparison: true,
		setup: "Eight backends take 10 ms for a request, and 300 ms for 2 % of them, at random. Clients send 300 requests a second at random for 8 s. " +
			"Ballast also has hedge, with at most 5 % second attempts.",
		variants: versus(all, func(l *lab, round int) scenario {
			sc := openTo(l, round, 8, 300, 8)
			sc.behavior = testbed.Behavior{Wait: 10 * time.Millisecond, Stragglers: 0.02, StragglerWait: 300 * time.Millisecond}
			sc.load.WarmUp = 5 * time.Second // hedging begins once its delay is known, within 3 s
			return sc
		}),
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		names := x.names()
		e.Findings = []report.Finding{
			serves(99, names, r),
			noMoreThan("Ballast's p99 without hedge is at most 1.25 times that of each other balancer (ms)", 1.25, names, r, p99Latency),
			{Claim: "With hedge Ballast's p99 is at most half of that without (ms)", Seen: each([]string{ours, hedged}, r, p99Latency),
				Pass: of(r[hedged], p99Latency).Median() <= of(r[ours], p99Latency).Median()/2},
			{Claim: "With hedge the backends get at most 5 % more requests than the clients send", Seen: each([]string{ours, hedged}, r, extraAttempts) + " %",
				Pass: of(r[hedged], extraAttempts).Median() <= 5},
		}
		e.Tables = []report.Table{compared(names, r, column{"extra attempts %", extraAttempts})}
		e.Remarks = append(settings(all, false), "Which request takes long is not known before, so no policy can avoid it: without hedge a tie is expected. "+
			"A second request to another backend does, and the others have no option for it.")
		l.distributions(e, names, r)
	}
	return x
}

func rolling() experiment {
	const backends = 5
	x := experiment{
		name: "rolling", title: "Balancers compared: a rolling restart", comparison: true,
		setup: "Five backends take 20 ms. Clients send 200 requests a second at random for 10 s. From 1 s on, one backend after the other is killed without notice " +
			"and started again 0.5 s later.",
		variants: versus(peers.All, func(l *lab, round int) scenario {
			sc := openTo(l, round, backends, 200, 10)
			sc.behavior, sc.load.Length = testbed.Behavior{Wait: 20 * time.Millisecond}, failureLength(l)
			step := sc.load.Length * 8 / 10 / backends
			for i := range backends {
				at := sc.load.Length/10 + time.Duration(i)*step
				sc.events = append(sc.events,
					event{at, func(s *stage) error { s.backends[i].Kill(); return nil }},
					event{at + min(step, time.Second)/2, func(s *stage) error { return s.backends[i].Start() }})
			}
			return sc
		}),
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		names := x.names()
		e.Findings = []report.Finding{
			serves(99.9, names, r),
			noMoreThan("Ballast leaves no more requests without an answer than each other balancer", 1, names, r, failures),
		}
		e.Tables = []report.Table{compared(names, r)}
		e.Remarks = settings(peers.All, false)
		l.lost(e, names, r)
		l.distributions(e, names, r)
	}
	return x
}

// raw compares the overhead of the balancers.
func raw() experiment {
	const clients = 32
	x := experiment{
		name: "raw", title: "Balancers compared: throughput and CPU time of a request", comparison: true,
		setup: fmt.Sprintf("Two backends answer at once. %d clients send a request as soon as the last is answered, for 5 s, on loopback addresses. "+
			"Generator, balancer and backends share the machine, so the CPU time of a request says more than the throughput.", clients),
		variants: versus(peers.All, func(l *lab, _ int) scenario {
			return scenario{
				clients: 1, backends: hosts(0, 0), loopback: true,
				load: loadgen.Config{Clients: clients, WarmUp: l.seconds(warmUp), Length: l.seconds(5), Timeout: clientTimeout},
			}
		}),
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		names := x.names()
		warm := l.seconds(warmUp).Seconds()
		cost := func(t *trial) float64 { // the warm-up has the same rate
			return t.cpu.Seconds() * 1e6 / max(throughput(t)*(t.Length.Seconds()+warm), 1)
		}
		e.Findings = []report.Finding{
			serves(99.9, names, r),
			{Claim: "HAProxy needs less CPU time for a request than Ballast (µs)", Seen: each([]string{ours, peers.HAProxy.Name}, r, cost),
				Pass: of(r[peers.HAProxy.Name], cost).Median() < of(r[ours], cost).Median()},
			{Claim: "Ballast needs at most 1.25 times the CPU time of Caddy alone for a request (µs)", Seen: each([]string{ours, peers.Caddy.Name}, r, cost),
				Pass: of(r[ours], cost).Median() <= 1.25*of(r[peers.Caddy.Name], cost).Median()},
		}
		e.Tables = []report.Table{compared(names, r, column{"CPU µs per request", cost})}
		e.Remarks = append(settings(peers.All, false),
			"HAProxy and nginx win here. CPU time of a request in µs: "+each(names, r, cost)+".",
			"nginx is one process here, HAProxy has a thread for each CPU, and so has Caddy.")
		var values []float64
		for _, name := range names {
			if m := of(r[name], cost).Median(); m == m {
				values = append(values, m)
			} else {
				values = append(values, 0)
			}
		}
		l.chart(e, "cpu", "CPU time of the balancer for a request, median of the rounds", report.BarChart{
			Title: "CPU time of a request", X: "balancer", Y: "CPU time (µs)", Groups: names, Series: []report.Bars{{Name: "balancer", Values: values}},
		})
	}
	return x
}
