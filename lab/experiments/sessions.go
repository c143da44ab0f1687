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

// sessionLifetime is the lifetime of sessions that expire.
const sessionLifetime = 3 * time.Second

// sessions lets two servers fail with sticky sessions, and lets sessions expire.
func sessions() experiment {
	const clients, servers = 20, 5
	dead := func(l *lab) (first, second time.Duration) {
		length := l.atLeast(12, 20)
		return length / 4, length / 2
	}
	with := func(options string) func(*lab, int) scenario {
		return func(l *lab, _ int) scenario {
			first, second := dead(l)
			fail := func(i int) func(s *stage) error {
				return func(s *stage) error {
					s.backends[i].Kill()
					return nil
				}
			}
			return scenario{
				clients: servers, backends: hosts(0, 0, 0, 0, 0), behavior: testbed.Behavior{Wait: 5 * time.Millisecond},
				site: func(s *stage) string {
					return fmt.Sprintf("reverse_proxy {\ndynamic pool {\n%s%s\n%s\n}\nlb_policy sticky {\ncookie lab {\nsecret a-secret-of-the-lab-with-32-bytes\n}\n%s\n}\nlb_retries 2\n}",
						s.members(), quickCheck, shortEjection, options)
				},
				load:   loadgen.Config{Clients: clients, Think: 100 * time.Millisecond, Length: l.atLeast(12, 20), Timeout: 10 * time.Second},
				target: func(_ int, t *loadgen.Target) { t.Cookies = true },
				events: []event{{first, fail(0)}, {second, fail(1)}},
			}
		}
	}
	x := experiment{
		name: "sessions", title: "Sticky sessions: two servers fail, sessions expire",
		setup: fmt.Sprintf("%d clients with cookies send a request each 100 ms to %d servers for 20 s. backend1 is killed after 5 s, backend2 after 10 s. "+
			"Sessions by cookie that last, and sessions that end after %v (max_lifetime).", clients, servers, sessionLifetime),
		origin:   "Sticky sessions with two servers failing and sessions that expire: sessions of failed servers go to others. No figures are known.",
		variants: []variant{{"sessions last", with("")}, {"sessions expire", with(fmt.Sprintf("ttl %[1]v\nmax_lifetime %[1]v", sessionLifetime))}},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		first, second := dead(l)
		died := map[string]time.Duration{"backend1": first, "backend2": second}
		// changes counts the moves away from live servers, or only those before the end of the
		// lifetime: times of sessions are whole seconds. A session whose server is dead but not yet
		// marked down does not move: its requests go to any server.
		changes := func(early bool) func(t *trial) float64 {
			return func(t *trial) float64 {
				n, lost := 0, make(map[int]time.Duration)
				moves(t, func(s loadgen.Sample, from string, stayed time.Duration) {
					if d, dies := died[from]; dies && s.At >= d-200*time.Millisecond {
						lost[s.Client] = d
						return
					}
					if d, ok := lost[s.Client]; ok && s.At < d+checkTime {
						return
					}
					if !early || stayed < sessionLifetime-time.Second {
						n++
					}
				})
				return float64(n)
			}
		}
		onTheDead := func(t *trial) float64 {
			n := 0
			for _, s := range t.samples {
				if d, dies := died[s.Server]; dies && s.At >= d+checkTime {
					n++
				}
			}
			return float64(n)
		}
		last, expire := r["sessions last"], r["sessions expire"]
		lost := append(of(last, failures), of(expire, failures)...)
		kept, early, all := of(last, changes(false)), of(expire, changes(true)), of(expire, changes(false))
		wrong := append(of(last, onTheDead), of(expire, onTheDead)...)
		e.Findings = []report.Finding{
			{Claim: "No request fails", Seen: lost.String(), Pass: lost.Median() == 0},
			{Claim: "A session that lasts leaves its server only when the server fails", Seen: kept.String() + " left a server that lives", Pass: kept.Median() == 0},
			{Claim: "After a server has failed, its clients are with others", Reported: "go to others", Seen: wrong.String() + " answers of dead servers", Pass: wrong.Median() == 0},
			{Claim: fmt.Sprintf("A session that expires after %v is not left more than 1s earlier", sessionLifetime), Seen: early.String() + " left earlier", Pass: early.Median() == 0},
			{Claim: "Expired sessions begin again, also with servers other than before", Reported: "expire", Seen: all.String() + " changes", Pass: all.Median() >= clients/4},
		}
		e.Tables = []report.Table{summary(x.names(), r)}
		bands := []report.Band{
			{Name: "backend1 down", From: first.Seconds(), To: second.Seconds()},
			{Name: "both down", From: second.Seconds(), To: l.atLeast(12, 20).Seconds()},
		}
		var series []report.Series
		for _, name := range numbered(servers) {
			series = append(series, report.Series{Name: name, Points: overTime(last, shareOf(func(s *loadgen.Sample) bool { return s.Server == name }))})
		}
		l.chart(e, "servers", "Share of each backend in the answers to sessions that last", report.Chart{
			Title: "Answers by backend, sessions last", X: "time (s)", Y: "share of answers (%)", Bands: bands, Series: series,
		})
		l.chart(e, "moves", "Clients that were answered by another backend than before, a second", report.Chart{
			Title: "Changes of the backend", X: "time (s)", Y: "clients that changed (1/s)", Bands: bands,
			Series: lines(x.names(), r, func(trials []*trial) []report.Point {
				var changed []*trial
				for _, t := range trials {
					c := &trial{samples: []loadgen.Sample{{At: t.Length - 1, Reply: loadgen.Reply{Outcome: loadgen.Failed}}}} // so that the line extends to the end
					moves(t, func(s loadgen.Sample, _ string, _ time.Duration) { c.samples = append(c.samples, s) })
					changed = append(changed, c)
				}
				return overTime(changed, rateOf(len(trials), loadgen.Answered))
			}),
		})
	}
	return x
}

// goingHome lets a server fail and recover, and moves sessions back to it.
func goingHome() experiment {
	const clients = 150 // clients of each site
	length := func(l *lab) time.Duration { return l.atLeast(45, 60) }
	const down, up = 3 * time.Second, 8 * time.Second
	pool := func(s *stage, name, options string) string {
		return fmt.Sprintf("reverse_proxy {\ndynamic pool %s {\n%s%s\n%s\n}\nlb_policy sticky {\nheader X-Session\n%s\n}\nlb_retries 2\n}",
			name, s.members(), quickCheck, shortEjection, options)
	}
	x := experiment{
		name: "home", title: "Sticky sessions that go home",
		setup: fmt.Sprintf("Two sites of one Caddy have the same three servers, and %d sessions by a header each, with a request each half second, for 60 s. "+
			"backend3 is killed after %v and started again after %v. One site has rebalance 1.2, the other does not.", clients, down, up),
		variants: []variant{{"both sites", func(l *lab, _ int) scenario {
			return scenario{
				clients: 4, backends: hosts(0, 0, 0), behavior: testbed.Behavior{Wait: 2 * time.Millisecond},
				site: func(s *stage) string {
					return "handle /rebalance {\n" + pool(s, "rebalance", "rebalance 1.2") + "\n}\nhandle {\n" + pool(s, "stay", "") + "\n}"
				},
				load: loadgen.Config{Clients: 2 * clients, Think: 500 * time.Millisecond, Length: length(l), Timeout: 10 * time.Second},
				target: func(client int, t *loadgen.Target) {
					t.Header = append(t.Header, [2]string{"X-Session", fmt.Sprint("s", client)})
					if client < clients {
						t.URL += "rebalance"
					}
				},
				events: []event{
					{down, func(s *stage) error { s.victim = s.backends[2]; s.victim.Kill(); return nil }},
					{up, revive},
				},
			}
		}}},
	}
	x.judge = func(l *lab, r results, e *report.Experiment) {
		trials := r["both sites"]
		end := length(l)
		site := func(rebalanced bool, from, to time.Duration) []*trial {
			var all []*trial
			for _, t := range trials {
				part := &trial{victim: t.victim}
				for _, s := range t.samples {
					if s.Client < clients == rebalanced && s.At >= from && s.At < to {
						part.samples = append(part.samples, s)
					}
				}
				all = append(all, part)
			}
			return all
		}
		share := func(t *trial) float64 {
			return shareOf(func(s *loadgen.Sample) bool { return s.Server == "backend3" })(t.samples)
		}
		with, without := of(site(true, end-5*time.Second, end), share), of(site(false, end-5*time.Second, end), share)
		lost := of(trials, failures)
		e.Findings = []report.Finding{
			{Claim: "With rebalance backend3 has at least 20 % of the answers at the end, of a fair share of 33 %", Seen: with.String() + " %", Pass: with.Median() >= 20},
			{Claim: "Without it, sessions stay where they went: backend3 has at most 1 %", Seen: without.String() + " %", Pass: without.Median() <= 1},
			{Claim: "No request fails", Seen: lost.String(), Pass: lost.Median() == 0},
		}
		e.Remarks = []string{"Each 10 s the crowded backends give a third of their excess away, so the pool is even two minutes after the failure; the run ends earlier."}
		band := report.Band{Name: "backend3 down", From: down.Seconds(), To: up.Seconds()}
		l.chart(e, "share", "Share of backend3 in the answers, by half second", report.Chart{
			Title: "Answers of the server that failed", X: "time (s)", Y: "share of answers (%)", Bands: []report.Band{band},
			Series: []report.Series{
				{Name: "rebalance 1.2", Points: overTime(site(true, 0, end), shareOf(func(s *loadgen.Sample) bool { return s.Server == "backend3" }))},
				{Name: "no rebalance", Points: overTime(site(false, 0, end), shareOf(func(s *loadgen.Sample) bool { return s.Server == "backend3" }))},
			},
		})
	}
	return x
}
