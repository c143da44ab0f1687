// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// straggling is the behavior of backends whose answers randomly take ten times as long. They finish
// a request even if the balancer has cancelled it.
var straggling = testbed.Behavior{Wait: 50 * time.Millisecond, Stragglers: 0.01, StragglerWait: 500 * time.Millisecond}

// stragglers offers less than the capacity, so that mostly stragglers are late.
func stragglers() *scenario {
	return &scenario{
		name: "stragglers", backends: 8, workers: 4, behavior: straggling,
		kinds: []kind{
			{"caddy", peers.Caddy, false},
			{"haproxy", peers.HAProxy, false},
			{"nginx", peers.Nginx, false},
			{"ballast", peers.Ballast, false},
			{"ballast, hedge, max 2%", peers.BallastHedge, false},
			{"ballast, hedge, max 5%", peers.BallastHedgeMore, false},
		},
		// Hedging begins once its delay is known, within 3 s.
		loads: []load{steady(0.7)}, warm: 6 * time.Second, length: 20 * time.Second, rounds: 3, tries: 1, print: printStragglers,
	}
}

// column is a column of a table with the figures of all rounds.
type column struct {
	header string
	value  func(*figures) float64
}

func printStragglers(to io.Writer, s *scenario, r results) {
	fmt.Fprintf(to, "%v\n"+
		"Extra are the requests that backends got beyond those of clients, in percent. Only Ballast can hedge: Caddy, HAProxy and nginx\n"+
		"have no option for a second attempt while the first is under way. Median of %d rounds, with the least and the greatest.\n\n", s, s.rounds)
	columns := []column{
		{"answered/s", func(f *figures) float64 { return f.Rate(f.Count(loadgen.Answered)) }},
		{"p50 ms", latency(0.5)}, {"p99 ms", latency(0.99)}, {"p99.9 ms", latency(0.999)}, {"extra %", (*figures).extra},
		{"not answered %", lost}, {"CPU µs", (*figures).cost}, {"late %", late}, {"others %", busy},
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, l := range s.loads {
		printRounds(w, s, r, l, columns)
	}
	w.Flush()
}

// printRounds prints a row for each balancer.
func printRounds(w io.Writer, s *scenario, r results, l load, columns []column) {
	fmt.Fprintf(w, "%v\t", l)
	for _, c := range columns {
		fmt.Fprintf(w, "%s\t", c.header)
	}
	fmt.Fprintln(w)
	for _, k := range s.kinds {
		if len(r[step{l.String(), k.name}]) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t", k.name)
		for _, c := range columns {
			fmt.Fprintf(w, "%v\t", r.each(l, k, c.value))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}
