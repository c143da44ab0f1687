// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// fields returns the lines of a table with single spaces.
func fields(text string) (lines []string) {
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

// answer returns the figures of a step with the replies of do, in virtual time.
func answer(t *testing.T, s *scenario, l load, do func(at time.Duration) loadgen.Reply) (f *figures) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		f = &figures{Result: loadgen.Run(t.Context(), loadgen.Config{
			Schedule: l.schedule(s, 1, false), WarmUp: s.warm, Length: s.length, Timeout: timeout,
			Do: func(context.Context, loadgen.Request) loadgen.Reply { return do(time.Since(began) - s.warm) },
		})}
	})
	return f
}

// The rounds of a load and a balancer become one row.
func TestPrintOverload(t *testing.T) {
	s := overload()
	l := steady(3)
	s.loads = []load{l}
	r := make(results)
	for _, peak := range []int{10, 12} {
		f := &figures{Result: loadgen.NewResult(), peak: peak, cpu: 900 * time.Millisecond}
		f.Length, f.Unsent, f.Sent = 2*time.Second, 1800, 1800
		at := step{l.String(), s.kinds[0].name}
		r[at] = append(r[at], f)
	}
	var text strings.Builder
	printOverload(&text, s, r)
	if !slices.Contains(fields(text.String()), "caddy 900 0 0 % - - - - - 12 500 - 100.0 % 0 %") {
		t.Errorf("the table is\n%s", text.String())
	}
}

// A cell has the median of the rounds with the least and the greatest, and attempts beyond the
// requests of clients count as extra. Balancers that are not installed have no row.
func TestPrintStragglers(t *testing.T) {
	s := stragglers()
	s.warm, s.length = time.Second, time.Second
	r := make(results)
	hedged := step{s.loads[0].String(), s.kinds[4].name}
	for _, extra := range []int64{10, 30, 20} {
		f := answer(t, s, s.loads[0], func(time.Duration) loadgen.Reply {
			time.Sleep(50 * time.Millisecond)
			return loadgen.Reply{Status: 200}
		})
		f.Sent = 1000
		f.attempts, f.cpu = 1000+extra, 250*time.Millisecond
		r[hedged] = append(r[hedged], f)
	}
	var text strings.Builder
	printStragglers(&text, s, r)
	var row string
	for _, line := range fields(text.String()) {
		if strings.HasPrefix(line, "caddy ") {
			t.Errorf("a row has no figures: %s", line)
		}
		if strings.HasPrefix(line, "ballast, hedge, max 2% ") {
			row = line
		}
	}
	if !strings.HasSuffix(row, " 50.0 50.0 50.0 2 (1 to 3) 0 250 0 0") {
		t.Errorf("the row is %q in\n%s", row, text.String())
	}
}

// back is the first second if all requests are answered right after the overload, the fourth after
// three more seconds of refusals, and infinite if the overload does not end.
func TestSurge(t *testing.T) {
	s := surge()
	s.length = 16 * time.Second
	ended := passing.end(1, s.length)
	if ended != 8*time.Second {
		t.Fatalf("the overload ends after %v", ended)
	}
	refused := func(from, to time.Duration) *figures {
		return answer(t, s, passing, func(at time.Duration) loadgen.Reply {
			if at >= from && at < to {
				return loadgen.Reply{Outcome: loadgen.Refused, Status: 503}
			}
			return loadgen.Reply{Status: 200}
		})
	}
	second := time.Second
	for _, c := range []struct {
		to   time.Duration
		want float64
	}{{8 * second, 1}, {11 * second, 4}, {20 * second, math.Inf(1)}} {
		f := refused(4*second, c.to)
		if got := back(f, ended); got != c.want {
			t.Errorf("with refusals until %v the recovery takes %v s, want %v", c.to, got, c.want)
		}
		if got := goodput(f, 4*second, ended); got != 0 {
			t.Errorf("the goodput is %v in an overload in which all are refused", got)
		}
	}
	// Within five standard deviations of a Poisson count, its square root.
	expected := 0.9 * s.capacity()
	if got := goodput(refused(0, 0), 0, 4*second); math.Abs(got-expected) > 5*math.Sqrt(expected/4) {
		t.Errorf("the goodput is %v a second, want about %v", got, expected)
	}
	if got := goodput(refused(0, 0), 0, second/2); !math.IsNaN(got) {
		t.Errorf("half a second has a goodput of %v", got)
	}
	// One second of five without answers: a fifth is missing, within five standard deviations of a
	// second's requests.
	all := refused(0, 0)
	of := func(rounds ...*figures) []*figures { return rounds }
	lost := refused(2*second, 3*second)
	if got := leastRatio(of(lost), of(all), 5); math.Abs(got-0.8) > 5*0.2/math.Sqrt(expected) {
		t.Errorf("without the answers of one second of five the least ratio is %v", got)
	}
	if got := leastRatio(of(all, lost), of(all, all), 5); math.Abs(got-0.9) > 5*0.1/math.Sqrt(expected) {
		t.Errorf("without the answers of one second of five in one of two rounds the least ratio is %v", got)
	}
	if got := leastRatio(of(all), of(all), 5); got != 1 {
		t.Errorf("the least ratio of the same figures is %v", got)
	}
	r := make(results)
	for i, k := range s.kinds {
		r[step{passing.String(), k.name}] = []*figures{refused(0, time.Duration(i)*second)}
	}
	var text strings.Builder
	printSurge(&text, s, r)
	var rows [][]string // second, due, answered without and with further attempts, ratio
	for _, line := range fields(text.String()) {
		if words := strings.Fields(line); len(words) == 5 && words[0] == fmt.Sprint(len(rows)+1) {
			rows = append(rows, words)
		}
	}
	if len(rows) != 16 {
		t.Fatalf("%d seconds in\n%s", len(rows), text.String())
	}
	if r := rows[0]; r[1] != r[2] || r[3] != "0" || r[4] != "0" {
		t.Errorf("the first second is %v", r)
	}
	if r := rows[1]; r[1] != r[2] || r[1] != r[3] || r[4] != "1" {
		t.Errorf("the second one is %v", r)
	}
}

func TestCapacity(t *testing.T) {
	for _, c := range []struct {
		backends, workers int
		behavior          testbed.Behavior
		want              float64
	}{
		{3, 10, testbed.Behavior{Wait: 50 * time.Millisecond}, 600},
		{2, 1, testbed.Behavior{Wait: 50 * time.Millisecond, Stragglers: 0.5, StragglerWait: 150 * time.Millisecond}, 20},
	} {
		s := &scenario{backends: c.backends, workers: c.workers, behavior: c.behavior}
		if got := s.capacity(); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%v: the capacity is %v", s, got)
		}
	}
}

// Each scenario can be printed with and without results, its balancers have unique names, and the
// shares of each load add up to 1.
func TestScenarios(t *testing.T) {
	for _, s := range scenarios() {
		names := make(map[string]bool)
		for _, k := range s.kinds {
			if names[k.name] || k.peer == nil {
				t.Errorf("%s: %q is not unique, or has no configuration", s.name, k.name)
			}
			names[k.name] = true
		}
		for _, l := range s.loads {
			if end := l.end(len(l)-1, s.length); (end - s.length).Abs() > time.Millisecond {
				t.Errorf("%s: %v ends after %v of %v", s.name, l, end, s.length)
			}
		}
		if s.rounds < 1 || s.tries < 1 || s.length <= 0 {
			t.Errorf("%s: %d rounds, %d tries, %v", s.name, s.rounds, s.tries, s.length)
		}
		var text strings.Builder
		s.print(&text, s, make(results))
		if strings.Contains(text.String(), "%!") || !strings.HasPrefix(text.String(), s.name+": ") {
			t.Errorf("%s", text.String())
		}
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-scenario", "stragglers,overload", "-times", "1,2.5", "-only", "caddy", "-length", "7s", "-rounds", "2"})
	if err != nil || len(o.scenarios) != 2 || o.fixed {
		t.Fatalf("%+v, %v", o, err)
	}
	s, all := o.scenarios[0], o.scenarios[1]
	if s.name != "stragglers" || s.length != 7*time.Second || s.warm != stragglers().warm || s.rounds != 2 || len(s.loads) != 1 {
		t.Errorf("%+v", s)
	}
	if len(all.loads) != 2 || all.loads[1].String() != "2.5 times" {
		t.Errorf("the loads are %v", all.loads)
	}
	if !all.kinds[1].wanted(o.only) || all.kinds[2].wanted(o.only) || !all.kinds[2].wanted(nil) {
		t.Errorf("%v does not select the two balancers on Caddy", o.only)
	}
	if o, err := parse(nil); err != nil || len(o.scenarios) != len(scenarios()) || len(o.scenarios[0].loads) != 8 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range []string{"-times=0", "-times=x", "-rounds=-1", "-length=-1s", "-warm=-1s", "-scenario=x"} {
		if _, err := parse([]string{bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
