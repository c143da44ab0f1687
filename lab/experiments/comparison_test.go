// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// Each comparison runs all balancers in one scenario, and states their settings.
func TestComparisonsHaveAllBalancers(t *testing.T) {
	for _, x := range comparisons() {
		if !x.comparison {
			t.Errorf("%s is not marked as a comparison", x.name)
		}
		l := &lab{out: t.TempDir(), rounds: 1, scale: quickScale, perMilli: 1000}
		seen, r := make(map[string]bool), make(results)
		for _, v := range x.variants {
			sc := v.scenario(l, 0)
			if sc.peer == nil || sc.peer.Name != v.name {
				t.Errorf("%s: the variant %s has the balancer %v", x.name, v.name, sc.peer)
			}
			seen[v.name] = true
			empty := loadgen.NewResult()
			empty.Length = sc.load.Length
			r[v.name] = []*trial{{Result: empty}}
			for i, e := range sc.events {
				if e.at >= sc.load.Length || i > 0 && e.at < sc.events[i-1].at {
					t.Errorf("%s: event %d is at %v of %v, out of order or too late", x.name, i, e.at, sc.load.Length)
				}
			}
		}
		e := report.Experiment{Name: x.name}
		x.judge(l, r, &e)
		for _, p := range peers.All {
			if !seen[p.Name] || !strings.Contains(strings.Join(e.Remarks, "\n"), "Settings of "+p.Name+": ") {
				t.Errorf("%s: %s is missing, or its settings", x.name, p.Name)
			}
		}
	}
}

// A comparison claim needs figures of Ballast, and fails if one other balancer is better.
func TestNoMoreThan(t *testing.T) {
	timed := func(millis int) []*trial {
		return []*trial{{samples: []loadgen.Sample{{Latency: time.Duration(millis) * time.Millisecond}}}}
	}
	latency := func(t *trial) float64 { return millis(t.samples[0].Latency) }
	names := []string{ours, ours + ", max_requests", "HAProxy", "nginx"}
	for _, c := range []struct {
		r    results
		want bool
	}{
		{results{ours: timed(10), "HAProxy": timed(10), "nginx": timed(20)}, true},
		{results{ours: timed(11), "HAProxy": timed(10), "nginx": timed(20)}, false},
		{results{ours: timed(10), ours + ", max_requests": timed(1), "HAProxy": timed(20)}, true},
		{results{ours: timed(10)}, true},
		{results{"HAProxy": timed(10)}, false},
		{results{}, false},
	} {
		if f := noMoreThan("", 1, names, c.r, latency); f.Pass != c.want {
			t.Errorf("%s: %v, want %v", f.Seen, f.Pass, c.want)
		}
	}
	if f := noMoreThan("", 2, names, results{ours: timed(20), "HAProxy": timed(10)}, latency); !f.Pass || f.Seen != "Ballast 20; HAProxy 10" {
		t.Errorf("%+v", f)
	}
	rounds := func(all ...int) (trials []*trial) {
		for _, n := range all {
			trials = append(trials, timed(n)...)
		}
		return trials
	}
	for _, c := range []struct {
		r             results
		pass, unknown bool
	}{
		{results{ours: rounds(10, 11, 12), "HAProxy": rounds(9, 10, 11)}, false, true},
		{results{ours: rounds(10, 11, 12), "HAProxy": rounds(7, 8, 9)}, false, false},
		{results{ours: rounds(10, 11, 12), "HAProxy": rounds(9, 10, 11), "nginx": rounds(1, 2, 3)}, false, false},
		{results{ours: rounds(9, 10, 20), "HAProxy": rounds(9, 10, 11)}, true, false},
	} {
		if f := noMoreThan("", 1, names, c.r, latency); f.Pass != c.pass || f.Unknown != c.unknown {
			t.Errorf("%s: pass %v, unknown %v", f.Seen, f.Pass, f.Unknown)
		}
	}
}

func TestAtLeast(t *testing.T) {
	counted := func(n int) []*trial { return []*trial{{samples: make([]loadgen.Sample, n)}} }
	measure := func(t *trial) float64 { return float64(len(t.samples)) }
	for _, c := range []struct {
		r    results
		want bool
	}{
		{results{ours: counted(9), "HAProxy": counted(10), "nginx": counted(3)}, true},
		{results{ours: counted(8), "HAProxy": counted(10), "nginx": counted(3)}, false},
		{results{ours: counted(1)}, true},
		{results{ours: counted(0)}, false},
		{results{"HAProxy": counted(10)}, false},
	} {
		if f := atLeast("", 0.9, ours, peers.All, c.r, measure); f.Pass != c.want {
			t.Errorf("%s: %v, want %v", f.Seen, f.Pass, c.want)
		}
	}
}

func TestShares(t *testing.T) {
	run := &trial{Result: loadgen.NewResult(), victim: "b", samples: []loadgen.Sample{
		answered(0, "a", 100), answered(0, "a", 700), answered(0, "b", 850), answered(0, "a", 900),
		{Reply: loadgen.Reply{Outcome: loadgen.TimedOut}, At: 950 * time.Millisecond},
	}}
	run.Length = time.Second
	if got := returned(run); got != 50 {
		t.Errorf("%v %% returned", got)
	}
	if got := slowOrLost(800 * time.Millisecond)(run); got != 60 {
		t.Errorf("%v %% are slow or lost", got)
	}
}

// Attempts beyond the requests of clients count on any backend.
func TestExtraAttempts(t *testing.T) {
	run := &trial{Result: loadgen.NewResult(), counts: []testbed.Counts{{Requests: 60}, {Requests: 45}}}
	run.Sent = 100
	if got := extraAttempts(run); got != 5 {
		t.Errorf("%v %% are extra", got)
	}
}

// A balancer that is not installed is left out, and the report says so.
func TestMissingBalancer(t *testing.T) {
	l := &lab{out: t.TempDir(), rounds: 2, progress: io.Discard}
	x := experiment{name: "x", variants: []variant{{"nobody", func(*lab, int) scenario { return scenario{peer: &peers.Peer{Program: "no-such-balancer"}} }}}}
	x.judge = func(_ *lab, r results, e *report.Experiment) {
		if len(r) != 0 {
			t.Errorf("the results are %v", r)
		}
		e.Findings = []report.Finding{{Pass: true}}
	}
	e := l.run(t.Context(), x)
	var text bytes.Buffer
	e.Print(&text)
	if e.Error != "" || strings.Count(text.String(), "nobody is not installed here and was left out") != 1 {
		t.Errorf("the report is\n%s", text.String())
	}
}
