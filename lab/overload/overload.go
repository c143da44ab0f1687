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

// overloadTimes are the default loads, as multiples of the capacity.
const overloadTimes = "0.5,0.8,1,1.5,2,3,5,10"

// overload offers loads from half to ten times the capacity.
func overload() *scenario {
	loads, err := parseTimes(overloadTimes)
	if err != nil {
		panic(err)
	}
	return &scenario{
		name: "overload", backends: 3, workers: 10, behavior: testbed.Behavior{Wait: 50 * time.Millisecond},
		kinds: []kind{
			{"caddy", peers.Caddy, false},
			{"caddy, its own cap", peers.Caddy, true},
			{"ballast, shed", peers.Ballast, true},
			{"ballast, max_requests", peers.BallastQueue, true},
			{"haproxy, maxconn", peers.HAProxy, true},
			{"nginx, max_conns", peers.Nginx, true},
		},
		loads: loads, warm: 2 * time.Second, length: 4 * time.Second, rounds: 1, tries: 3, print: printOverload,
	}
}

// merge merges the figures of all rounds.
func merge(rounds []*figures) *figures {
	all := &figures{Result: loadgen.NewResult()}
	for _, f := range rounds {
		all.Merge(f.Result)
		all.peak = max(all.peak, f.peak)
		all.cpu += f.cpu
		all.attempts += f.attempts
		all.others = max(all.others, f.others)
	}
	return all
}

// printOverload prints a block for each load.
func printOverload(to io.Writer, s *scenario, r results) {
	fmt.Fprintf(to, "%v\n\n", s)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, l := range s.loads {
		fmt.Fprintf(w, "%v\toffered/s\tanswered/s\tof capacity\tp50 ms\tp99 ms\trefused\ttimed out\tfailed\tpeak\tCPU µs\tlate\tunsent\tothers\t\n", l)
		for _, k := range s.kinds {
			rounds := r[step{l.String(), k.name}]
			if len(rounds) == 0 {
				continue
			}
			f := merge(rounds)
			fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f %%\t%s\t%s\t%s\t%s\t%s\t%d\t%.0f\t%s\t%s\t%.0f %%\t\n", k.name,
				f.Rate(f.Due()), f.Rate(f.Count(loadgen.Answered)), 100*f.Rate(f.Count(loadgen.Answered))/s.capacity(),
				millis(f.Latency(0.5)), millis(f.Latency(0.99)),
				f.share(f.Count(loadgen.Refused)), f.share(f.Count(loadgen.TimedOut)), f.share(f.Count(loadgen.Failed)),
				f.peak, f.cost(), f.share(f.Late), f.share(f.Unsent), busy(f))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// share formats a number as a share of the due requests.
func (f *figures) share(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", f.percent(n))
}

func millis(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", d.Seconds()*1e3)
}
