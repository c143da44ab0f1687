// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/report"
)

func at(rate, answered int, p99 time.Duration) sample {
	return sample{due: rate * 10, answered: answered * 10, length: 10 * time.Second, p99: p99}
}

func TestSustained(t *testing.T) {
	good := at(1000, 1000, 20*time.Millisecond)
	for _, c := range []struct {
		name   string
		rounds []sample
		want   bool
	}{
		{"all in time", []sample{good}, true},
		{"99 % at the bound", []sample{at(1000, 990, 100*time.Millisecond)}, true},
		{"less than 99 %", []sample{at(1000, 989, 20*time.Millisecond)}, false},
		{"late", []sample{at(1000, 1000, 101*time.Millisecond)}, false},
		{"nothing was due", []sample{{}}, false},
		{"no rounds", nil, false},
		{"one bad round of three", []sample{good, at(1000, 500, time.Second), good}, true},
		{"two bad rounds of three", []sample{at(1000, 1000, time.Second), good, at(1000, 1000, time.Second)}, false},
	} {
		if got := sustained(c.rounds...); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// A rate is halved until the machine sustains it, and lower rates are not measured.
func TestHighestSustained(t *testing.T) {
	for _, c := range []struct {
		capacity, want float64
		measured       string
	}{
		{6000, 5000, "[5000]"},
		{4950, 5000, "[5000]"},
		{4940, 2500, "[5000 2500]"},
		{1300, 1250, "[5000 2500 1250]"},
		{625, 625, "[5000 2500 1250 625]"},
		{600, 0, "[5000 2500 1250 625]"},
	} {
		var measured []float64
		got, err := highestSustained(rates(5000), func(rate float64) (sample, error) {
			measured = append(measured, rate)
			return at(int(rate), int(min(rate, c.capacity)), 20*time.Millisecond), nil
		})
		if got != c.want || err != nil || fmt.Sprint(measured) != c.measured {
			t.Errorf("of %v a second: %v, %v, measured %v", c.capacity, got, err, measured)
		}
	}
	failed := errors.New("no backend")
	if _, err := highestSustained(rates(5000), func(float64) (sample, error) { return sample{}, failed }); !errors.Is(err, failed) {
		t.Errorf("the error is %v", err)
	}
}

func TestFindingsOfLimits(t *testing.T) {
	good, bad := at(1000, 1000, 20*time.Millisecond), at(1000, 900, time.Second)
	for _, c := range []struct {
		plainLimit            float64
		ballast, plain        sample
		compared              float64
		verdicts, first, last string
	}{
		{5000, good, good, 5000, "pass", "Ballast sustains 5000 requests a second on 10000 connections: shown: ", ""},
		{5000, bad, good, 5000, "fail", "Ballast sustains 5000 requests a second on 10000 connections: Ballast 90 % answered, p99 1000 ms", ""},
		{5000, bad, bad, 5000, "unknown", "plain Caddy does not sustain it either", ""},
		{2500, good, bad, 2500, "unknown pass", "5000/s cannot be shown on this machine: 2 CPUs, plain Caddy sustains 2500/s, and backends without a balancer 5000/s, while other processes use 10 % of the CPUs", "the 2500 requests a second that plain Caddy sustains: shown"},
		{2500, bad, good, 2500, "unknown fail", "cannot be shown", "the 2500 requests"},
		{2500, bad, bad, 2500, "unknown unknown", "cannot be shown", "in turn with Ballast"},
		{0, good, bad, 625, "unknown", "plain Caddy sustains less than 625/s", ""},
	} {
		l := limits{cpus: 2, connections: 10_000, intended: 5000, direct: 5000, plainCaddy: c.plainLimit, others: 0.1}
		var verdicts, texts []string
		for _, f := range l.findings([]sample{c.ballast}, []sample{c.plain}) {
			verdicts, texts = append(verdicts, f.Verdict()), append(texts, f.Claim+": "+f.Seen)
		}
		if got := l.comparedAt(); got != c.compared {
			t.Errorf("%+v: compared at %v", c, got)
		}
		if strings.Join(verdicts, " ") != c.verdicts || !strings.Contains(texts[0], c.first) || !strings.Contains(texts[len(texts)-1], c.last) {
			t.Errorf("%+v: %v %q", c, verdicts, texts)
		}
	}
}

// Ratios are taken within a round, since the machine may be slower in another.
func TestNoMoreThan(t *testing.T) {
	rounds := func(micros ...float64) (all []sample) {
		for _, m := range micros {
			all = append(all, sample{cpu: time.Duration(m * 1e3)})
		}
		return all
	}
	plain := rounds(100, 200, 400)
	if f := noMoreThan("The CPU time is", 1.25, rounds(110, 240, 400), plain, sample.micros); !f.Pass || f.Seen != "1.10 (1 to 1.20) times" || f.Claim != "The CPU time is at most 1.25 times that of plain Caddy" {
		t.Errorf("%+v", f)
	}
	if f := noMoreThan("The CPU time is", 1.25, rounds(130, 260, 520), plain, sample.micros); f.Pass || f.Unknown {
		t.Errorf("%+v", f)
	}
	if f := noMoreThan("The CPU time is", 1.25, rounds(130, 260, 400), plain, sample.micros); f.Pass || !f.Unknown || f.Seen != "the rounds disagree: 1.30 (1 to 1.30) times" {
		t.Errorf("%+v", f)
	}
	if f := noMoreThan("The CPU time is", 1.25, nil, plain, sample.micros); f.Pass {
		t.Errorf("without rounds: %+v", f)
	}
	if !slices.Equal(ratio(rounds(50, 100, 100), plain, sample.micros), []float64{0.5, 0.5, 0.25}) {
		t.Error("ratios are not computed by round")
	}
}

// On a busy machine a finding on latencies is unknown, also one that would pass.
func TestUndisturbed(t *testing.T) {
	for _, pass := range []bool{true, false} {
		f := report.Finding{Seen: "2 times", Pass: pass}
		if got := undisturbed(f, 0.25); got != f {
			t.Errorf("at the bound: %+v", got)
		}
		if got := undisturbed(f, 0.75); !got.Unknown || got.Seen != "other processes used 75 % of the CPUs: 2 times" {
			t.Errorf("above it: %+v", got)
		}
	}
	if f := (report.Finding{Seen: "no", Unknown: true}); undisturbed(f, 0.75) != f {
		t.Error("an unknown finding is changed")
	}
}
