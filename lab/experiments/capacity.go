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

// The work of one request, in milliseconds of CPU time, and how many clients of a closed loop there are.
const (
	requestWork   = 5
	closedClients = 10
	warmUp        = 2 // seconds
)

// closedLoop is the scenario of the experiments with a closed loop of clients.
func closedLoop(seconds float64, site func(s *stage) string, shares ...float64) func(*lab, int) scenario {
	return func(l *lab, _ int) scenario {
		return scenario{
			clients: closedClients, backends: hosts(shares...), behavior: testbed.Behavior{Work: l.work(requestWork)}, site: site,
			load: loadgen.Config{Clients: closedClients, WarmUp: l.seconds(warmUp), Length: l.seconds(seconds), Timeout: 20 * time.Second},
		}
	}
}

// proxyTo is a proxy with a policy to all backends of equal weight.
func proxyTo(policy string) func(s *stage) string {
	return func(s *stage) string {
		return fmt.Sprintf("reverse_proxy {\ndynamic pool {\nto%s\n}\nlb_policy %s\n}", s.addresses(), policy)
	}
}

// oneOrThree compares one server with three.
func oneOrThree() experiment {
	x := experiment{
		name: "servers", title: "One server against three",
		setup: "10 clients send a request as soon as the last is answered, for 20 s. Each server has 20 % of a CPU; " +
			"a request costs 5 ms of CPU time. Three servers get requests in turn (wrr).",
		origin: "10 clients, 20 s, round robin: the response time halves and the throughput doubles.",
		variants: []variant{
			{"one server", closedLoop(20, proxyTo("wrr"), 0.2)},
			{"three servers", closedLoop(20, proxyTo("wrr"), 0.2, 0.2, 0.2)},
		},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		one, three := r["one server"], r["three servers"]
		slower := of(three, medianLatency).Over(of(one, medianLatency))
		more := of(three, throughput).Over(of(one, throughput))
		e.Findings = []report.Finding{
			{Claim: "With three servers the median response time is at most half of that with one",
				Reported: "halves", Seen: slower.String() + " times", Pass: slower.Median() <= 0.5},
			{Claim: "With three servers the throughput is at least twice that with one",
				Reported: "doubles", Seen: more.String() + " times", Pass: more.Median() >= 2},
		}
		e.Tables = []report.Table{summary(x.names(), r)}
		e.Remarks = []string{
			"A third and threefold are ideal: clients that wait keep ten requests in flight, and nothing but the servers is a limit here. " +
				"What kept the original at two is not known.",
		}
		l.charts(e, x.names(), r)
		l.shares(e, x.names(), r, numbered(3))
	}
	return x
}

// policies compares policies with a single server.
func policies() experiment {
	x := experiment{
		name: "policies", title: "Round robin, least connections and least response time",
		setup: "10 clients send a request as soon as the last is answered, for 8 s. Each of three servers has 20 % of a CPU; " +
			"a request costs 5 ms of CPU time. wrr, least_request and least_time against one such server.",
		origin: "Round robin, least connections and least response time against a single server. No figures are known; the first experiment says that three servers are better than one.",
		variants: []variant{
			{"single server", closedLoop(8, proxyTo("wrr"), 0.2)},
			{"round robin", closedLoop(8, proxyTo("wrr"), 0.2, 0.2, 0.2)},
			{"least connections", closedLoop(8, proxyTo("least_request"), 0.2, 0.2, 0.2)},
			{"least response time", closedLoop(8, proxyTo("least_time"), 0.2, 0.2, 0.2)},
		},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		for _, name := range x.names()[1:] {
			less := of(r[name], medianLatency).Over(of(r["single server"], medianLatency))
			more := of(r[name], throughput).Over(of(r["single server"], throughput))
			e.Findings = append(e.Findings, report.Finding{
				Claim:    "With " + name + " answers are faster and more than with a single server",
				Reported: "better", Seen: fmt.Sprintf("%s times the response time, %s times the answers", less, more),
				Pass: less.Median() < 0.8 && more.Median() > 1.25,
			})
		}
		e.Tables = []report.Table{summary(x.names(), r)}
		e.Remarks = []string{"With equal servers and equal requests the policies differ little. They differ when servers do: see the next experiment."}
		l.charts(e, x.names(), r)
		l.shares(e, x.names(), r, numbered(3))
	}
	return x
}

// weights compares weights with equal shares, on servers of different speed.
func weights() experiment {
	shares := []float64{0.1, 0.2, 0.3}
	weighted := func(s *stage) string {
		return fmt.Sprintf("reverse_proxy {\ndynamic pool {\n%s}\nlb_policy wrr\n}", s.members(1, 2, 3))
	}
	x := experiment{
		name: "weights", title: "Weighted against unweighted",
		setup: "10 clients send a request as soon as the last is answered, for 8 s. Three servers have 10, 20 and 30 % of a CPU; " +
			"a request costs 5 ms of CPU time. Round robin with weights 1, 2, 3 against none; and two policies that need no weights.",
		origin: "CPU shares 1:2:3: 264 answers with weights, 217 without, 1.22 times as many.",
		variants: []variant{
			{"unweighted", closedLoop(8, proxyTo("wrr"), shares...)},
			{"weighted 1:2:3", closedLoop(8, weighted, shares...)},
			{"least connections", closedLoop(8, proxyTo("least_request"), shares...)},
			{"least response time", closedLoop(8, proxyTo("least_time"), shares...)},
		},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		more := of(r["weighted 1:2:3"], answers).Over(of(r["unweighted"], answers))
		e.Findings = []report.Finding{{
			Claim: "With weights there are at least 1.22 times as many answers as without", Reported: "264 against 217",
			Seen: fmt.Sprintf("%s against %s, %s times", of(r["weighted 1:2:3"], answers), of(r["unweighted"], answers), more),
			Pass: more.Median() >= 264./217,
		}}
		for _, name := range x.names()[2:] {
			more := of(r[name], answers).Over(of(r["weighted 1:2:3"], answers))
			e.Findings = append(e.Findings, report.Finding{
				Claim: "Without weights, " + name + " gives at least 0.8 times as many answers as weights do",
				Seen:  more.String() + " times", Pass: more.Median() >= 0.8,
			})
		}
		e.Tables = []report.Table{summary(x.names(), r)}
		e.Remarks = []string{
			"Without weights the slowest server has a third of the requests and sets the pace: 3 times its speed, half of what all can do. " +
				"So weights can give twice as many answers here. Why the original has a smaller factor is not known.",
		}
		l.charts(e, x.names(), r)
		l.shares(e, x.names(), r, numbered(3))
	}
	return x
}
