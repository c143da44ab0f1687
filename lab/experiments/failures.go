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

// atLeast is like seconds, with a minimum, since checks need a fixed time.
func (l *lab) atLeast(least, s float64) time.Duration {
	return max(l.seconds(s), time.Duration(least*float64(time.Second)))
}

// quickCheck is a health check that detects a dead server within about two seconds, but does not
// fail for a busy one.
const quickCheck = "health http /health {\ninterval 500ms\ntimeout 1s\nfails 3\npasses 2\n}"

// shortEjection makes ejections end within a run; by default they last 30 s and longer.
const shortEjection = "outliers {\neject_for 2s\nmax_eject_for 2s\n}"

// checkTime is the longest time until a check detects a failure, with its jitter and some time to
// run.
const checkTime = 2500 * time.Millisecond

// kill and revive are events; the victim is the backend with the most answers so far.
func kill(s *stage) error {
	s.victim = s.busiest()
	s.victim.Kill()
	return nil
}

func revive(s *stage) error { return s.victim.Start() }

// moves calls move each time that another backend than before answers a client, with the time since
// the client first reached the former one.
func moves(t *trial, move func(s loadgen.Sample, from string, stayed time.Duration)) {
	type stay struct {
		server string
		since  time.Duration
	}
	stays := make(map[int]stay)
	for _, s := range t.samples { // samples of one client are in order
		if s.Outcome != loadgen.Answered {
			continue
		}
		current, known := stays[s.Client]
		if known && current.server == s.Server {
			continue
		}
		if known {
			move(s, current.server, s.At-current.since)
		}
		stays[s.Client] = stay{s.Server, s.At}
	}
}

// failover lets one of five servers fail and return.
func failover() experiment {
	const clients, servers = 5, 5
	with := func(options string) func(*lab, int) scenario {
		return func(l *lab, _ int) scenario {
			length := l.atLeast(12, 20)
			return scenario{
				clients: clients, backends: hosts(0.15, 0.15, 0.15, 0.15, 0.15), behavior: testbed.Behavior{Work: l.work(2)},
				site: func(s *stage) string {
					return fmt.Sprintf("reverse_proxy {\ndynamic pool {\n%s%s\n%s\n}\nlb_policy rendezvous client_ip\n%s\n}", s.members(), quickCheck, shortEjection, options)
				},
				load:   loadgen.Config{Clients: clients, Think: 20 * time.Millisecond, Length: length, Timeout: 10 * time.Second},
				events: []event{{length / 4, kill}, {length * 3 / 4, revive}},
			}
		}
	}
	x := experiment{
		name: "failover", title: "Failover with a hash policy",
		setup: fmt.Sprintf("%d clients with addresses of their own, each with a request at a time, and %d servers with 15 %% of a CPU each for 20 s. "+
			"The policy is rendezvous by client address. The server with the most answers is killed after 5 s and started again after 15 s. "+
			"Health checks run each half second, and an ejection lasts 2 s. With and without two retries.", clients, servers),
		origin:   "5 clients, 5 servers, hash policy, one server down from 5 s to 15 s: its clients are served by others meanwhile. No figures are known.",
		variants: []variant{{"no retries", with("")}, {"two retries", with("lb_retries 2")}},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		length := l.atLeast(12, 20)
		down, up := length/4, length*3/4
		for _, name := range x.names() {
			lost := of(r[name], failures)
			strayed, stayedAway, home := of(r[name], othersMoved), 0.0, 0.0
			for _, t := range r[name] {
				before, after := 0, 0
				for _, s := range t.samples {
					if s.Server != t.victim {
						continue
					}
					switch {
					case s.At < down:
						before++
					case s.At >= down+checkTime && s.At < up:
						stayedAway++
					case s.At >= up+checkTime:
						after++
					}
				}
				if before == 0 || after == 0 {
					home++
				}
			}
			limit := 0.0
			if name == "no retries" {
				limit = 5 * clients
			}
			e.Findings = append(e.Findings,
				report.Finding{Claim: fmt.Sprintf("With %s at most %.0f requests fail", name, limit), Seen: lost.String(), Pass: lost.Median() <= limit},
				report.Finding{Claim: "With " + name + " no client of another server changes its server", Seen: strayed.String() + " changes", Pass: strayed.Median() == 0},
				report.Finding{Claim: "With " + name + " nobody is sent to the dead server, and its clients return to it", Reported: "served by others meanwhile",
					Seen: fmt.Sprintf("%.0f sent there; in %.0f of %d rounds none returned", stayedAway, home, len(r[name])), Pass: stayedAway == 0 && home == 0})
		}
		e.Tables = []report.Table{summary(x.names(), r)}
		e.Remarks = []string{
			"Without retries the requests fail that meet the dead server before a check or five errors in a row have taken it out.",
			"Clients of the dead server may change twice: while it is ejected or was tried they go to their next choice, and to another once checks have taken it out of the pool's view. With ring_hash both are the same.",
		}
		band := report.Band{Name: "one server down", From: down.Seconds(), To: up.Seconds()}
		l.charts(e, x.names(), r, band)
		l.chart(e, "victim", "Share of the server that fails in the answers, by half second", report.Chart{
			Title: "Answers of the server that fails", X: "time (s)", Y: "share of answers (%)", Bands: []report.Band{band},
			Series: lines(x.names(), r, func(trials []*trial) []report.Point { return victimShare(trials) }),
		})
		l.chart(e, "errors", "Requests that failed, a second", report.Chart{
			Title: "Errors", X: "time (s)", Y: "failed (1/s)", Bands: []report.Band{band},
			Series: lines(x.names(), r, func(t []*trial) []report.Point {
				return overTime(t, rateOf(len(t), loadgen.Failed, loadgen.TimedOut))
			}),
		})
	}
	return x
}

// othersMoved counts the moves of clients that did not start on the server that fails.
func othersMoved(t *trial) float64 {
	n, first := 0, make(map[int]string)
	moves(t, func(s loadgen.Sample, from string, _ time.Duration) {
		if first[s.Client] == "" {
			first[s.Client] = from
		}
		if first[s.Client] != t.victim {
			n++
		}
	})
	return float64(n)
}

// victimShare is the share of the failing server over time, in all rounds: the server differs by
// round.
func victimShare(trials []*trial) []report.Point {
	for _, t := range trials {
		for i := range t.samples {
			if t.samples[i].Server == t.victim {
				t.samples[i].Number = -1 // marks it
			}
		}
	}
	return overTime(trials, shareOf(func(s *loadgen.Sample) bool { return s.Number == -1 }))
}

// hang lets a server stop answering while its health check passes.
func hang() experiment {
	const rate, servers = 200, 5
	with := func(outliers string) func(*lab, int) scenario {
		return func(l *lab, round int) scenario {
			length := l.atLeast(14, 16)
			return scenario{
				clients: 4, backends: hosts(0, 0, 0, 0, 0), behavior: testbed.Behavior{Wait: 5 * time.Millisecond},
				site: func(s *stage) string {
					return fmt.Sprintf("reverse_proxy {\ndynamic pool {\n%s%s\n%s\n}\nlb_policy wrr\n}", s.members(), quickCheck, outliers)
				},
				load: loadgen.Config{Schedule: loadgen.Poisson(rate, uint64(round+1)), Length: length, Timeout: 2 * time.Second},
				events: []event{
					{length / 4, func(s *stage) error {
						s.victim = s.backends[2]
						return s.victim.Set(testbed.Behavior{Wait: 5 * time.Millisecond, Hang: true})
					}},
					{length * 6 / 10, func(s *stage) error { return s.victim.Set(s.victim.Behavior()) }},
				},
			}
		}
	}
	x := experiment{
		name: "hang", title: "Ejection of a server that hangs",
		setup: fmt.Sprintf("Clients send %d requests a second at random to %d servers that take 5 ms, for 16 s, and leave after 2 s. "+
			"Round robin. From 4 s to 9.6 s one server accepts requests and answers none, while its health check succeeds. "+
			"With outlier detection off, and on (eject_for 2s).", rate, servers),
		variants: []variant{
			{"outliers off", with("outliers off")}, {"outliers on", with(shortEjection)},
		},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		length := l.atLeast(14, 16)
		from, to := length/4, length*6/10
		late := between(from+3*time.Second, to, loadgen.TimedOut)
		off, on := of(r["outliers off"], late), of(r["outliers on"], late)
		all := func(t *trial) float64 { return float64(t.Count(loadgen.TimedOut)) }
		fewer := of(r["outliers on"], all).Over(of(r["outliers off"], all))
		back := of(r["outliers on"], func(t *trial) float64 {
			n, sum := 0, 0
			for _, s := range t.samples {
				if s.At >= length-2*time.Second && s.Outcome == loadgen.Answered {
					sum++
					if s.Server == t.victim {
						n++
					}
				}
			}
			return 100 * float64(n) / float64(max(sum, 1))
		})
		e.Findings = []report.Finding{
			{Claim: "Without outlier detection about a fifth of the requests time out for as long as the server hangs", Seen: off.String() + " a second of 200",
				Pass: off.Median() > 0.1*rate && off.Median() < 0.3*rate},
			{Claim: "With it, from 3 s after the server hung, at most 1 % of the requests time out: those on trial", Seen: on.String() + " a second of 200", Pass: on.Median() <= 0.01*rate},
			{Claim: "With it, at most half as many requests time out in all", Seen: fewer.String() + " times", Pass: fewer.Median() <= 0.5},
			{Claim: "In the last 2 s the server has at least half of its fair share of 20 % again", Seen: back.String() + " %", Pass: back.Median() >= 10},
		}
		e.Tables = []report.Table{summary(x.names(), r)}
		band := report.Band{Name: "one server hangs", From: from.Seconds(), To: to.Seconds()}
		l.chart(e, "errors", "Requests that were sent in each half second and timed out, a second", report.Chart{
			Title: "Timeouts", X: "time (s)", Y: "timed out (1/s)", Bands: []report.Band{band},
			Series: lines(x.names(), r, func(t []*trial) []report.Point { return overTime(t, rateOf(len(t), loadgen.TimedOut)) }),
		})
		l.chart(e, "victim", "Share of the server that hangs in the answers, by half second", report.Chart{
			Title: "Answers of the server that hangs", X: "time (s)", Y: "share of answers (%)", Bands: []report.Band{band},
			Series: lines(x.names(), r, victimShare),
		})
		l.chart(e, "cdf", "Distribution of response times of all rounds; timeouts are not in it", report.Chart{
			Title: "Distribution of response times", X: "response time (ms)", Y: "answers up to this time (%)", LogX: true, MaxY: 100,
			Series: lines(x.names(), r, distribution),
		})
	}
	return x
}
