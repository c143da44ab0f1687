// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

func TestMain(m *testing.M) {
	testbed.Main()
	os.Exit(m.Run())
}

// answered is a request of a client at a time, in milliseconds, that a server answered.
func answered(client int, server string, at int) loadgen.Sample {
	return loadgen.Sample{
		Request: loadgen.Request{Client: client}, Reply: loadgen.Reply{Server: server},
		At: time.Duration(at) * time.Millisecond, Latency: time.Duration(at) * time.Millisecond,
	}
}

// A client moves when another server than before answers it; failed requests do not count.
func TestMoves(t *testing.T) {
	lost := answered(1, "", 250)
	lost.Outcome = loadgen.Failed
	run := &trial{victim: "a", samples: []loadgen.Sample{
		answered(1, "a", 100), answered(2, "b", 100), answered(1, "a", 200), lost, answered(1, "c", 300), answered(2, "b", 300),
		answered(1, "a", 900), answered(2, "d", 1000),
	}}
	var seen []string
	moves(run, func(s loadgen.Sample, from string, stayed time.Duration) {
		seen = append(seen, fmt.Sprintln(s.Client, from, s.Server, stayed))
	})
	if got := strings.Join(seen, ""); got != "1 a c 200ms\n1 c a 600ms\n2 b d 900ms\n" {
		t.Errorf("the moves are %q", got)
	}
	if n := othersMoved(run); n != 1 { // client 2: client 1 started on the victim
		t.Errorf("%v clients of other servers moved", n)
	}
	points := overTime([]*trial{run}, shareOf(func(s *loadgen.Sample) bool { return s.Server == "a" }))
	if got := fmt.Sprint(points); got != "[{0.25 40} {0.75 100} {1.25 0}]" {
		t.Errorf("the shares of a are %s", got)
	}
	if n := between(100*time.Millisecond, 300*time.Millisecond, loadgen.Answered)(run); n != 3/0.2 {
		t.Errorf("%v are answered a second", n)
	}
}

func TestDistribution(t *testing.T) {
	run := &trial{}
	for i := range 1000 {
		run.samples = append(run.samples, answered(0, "a", 1000-i))
	}
	points := distribution([]*trial{run})
	if len(points) != 200 || points[0] != (report.Point{X: 5, Y: 0.5}) || points[199] != (report.Point{X: 1000, Y: 100}) {
		t.Errorf("%d points, from %v to %v", len(points), points[0], points[len(points)-1])
	}
}

// Each experiment has a description and a unique name, and judges any results, also none.
func TestExperimentsAreComplete(t *testing.T) {
	names := make(map[string]bool)
	for _, x := range experiments() {
		if !regexp.MustCompile(`^[a-z]+$`).MatchString(x.name) || names[x.name] || x.title == "" || len(x.setup) < 50 || len(x.variants) == 0 {
			t.Errorf("%q: %q, %q, %d variants", x.name, x.title, x.setup, len(x.variants))
		}
		names[x.name] = true
		l := &lab{out: t.TempDir(), rounds: 1, scale: 1, perMilli: 1000}
		r := make(results)
		for _, v := range x.variants {
			sc := v.scenario(l, 0)
			if sc.clients == 0 || len(sc.backends) == 0 || sc.load.Length == 0 || sc.load.Schedule == nil == (sc.load.Clients == 0) {
				t.Errorf("%s, %s: %d client hosts, %d backends, %+v", x.name, v.name, sc.clients, len(sc.backends), sc.load)
			}
			for _, e := range sc.events {
				if e.at >= sc.load.Length {
					t.Errorf("%s, %s: an event after the end, at %v", x.name, v.name, e.at)
				}
			}
			empty := loadgen.NewResult()
			empty.Length = sc.load.Length
			r[v.name] = []*trial{{Result: empty}}
		}
		var e report.Experiment
		e.Name = x.name
		x.judge(l, r, &e)
		if len(e.Findings) == 0 || len(e.Plots) == 0 {
			t.Errorf("%s: %d findings, %d plots", x.name, len(e.Findings), len(e.Plots))
		}
		if e.Passed() {
			t.Errorf("%s passes without a request", x.name)
		}
		for _, p := range e.Plots {
			if _, err := os.Stat(filepath.Join(l.out, p.File)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-quick", "-only", "hang,home"})
	if err != nil || o.rounds != 1 || o.scale != quickScale || len(o.only) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-only", "x"}, {"-rounds", "0"}, {"-scale", "0"}, {"now"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
