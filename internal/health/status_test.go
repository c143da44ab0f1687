// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"errors"
	weakrand "math/rand/v2"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

var errProbe = errors.New("refused")

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name          string
		initial       bool
		passes, fails int
		results       string // + passes, - fails
		want          string // U up, D down after each result
	}{
		{"one less than fails does nothing", true, 2, 3, "--+--+", "UUUUUU"},
		{"fails in a row take it down", true, 2, 3, "---", "UUD"},
		{"one less than passes does nothing", false, 2, 3, "+-+-", "DDDD"},
		{"passes in a row bring it up", false, 2, 3, "++", "DU"},
		{"thresholds of one", true, 1, 1, "-+-", "DUD"},
		{"a pass in between starts the count again", true, 1, 3, "-++-++-", "UUUUUUU"},
		{"down stays down while it fails", true, 2, 1, "---+-++", "DDDDDDU"},
		// Caddy's own counters mark this down: 500 200 200 500 200 200 500.
		{"failures that are not consecutive", true, 1, 3, "-++-++-", "UUUUUUU"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := NewStatus(tt.initial)
			for i, r := range tt.results {
				var result error
				if r == '-' {
					result = errProbe
				}
				before := v.Up()
				changed := v.Observe(result, tt.passes, tt.fails)
				if got, want := v.Up(), tt.want[i] == 'U'; got != want {
					t.Fatalf("after %s: up is %v, want %v", tt.results[:i+1], got, want)
				}
				if changed != (before != v.Up()) {
					t.Fatalf("after %s: changed is %v", tt.results[:i+1], changed)
				}
			}
		})
	}
}

func TestInitialStatus(t *testing.T) {
	v := NewStatus(true)
	v.SetInitial(false)
	if v.Up() {
		t.Error("the initial state did not apply before any result")
	}
	v.Observe(nil, 2, 3)
	v.SetInitial(false)
	v.Observe(nil, 2, 3)
	v.SetInitial(false)
	if !v.Up() {
		t.Error("the initial state replaced a result")
	}
}

func TestStatusReport(t *testing.T) {
	v := NewStatus(true)
	v.Observe(errProbe, 1, 2)
	if !v.Pending() {
		t.Error("not pending after the first failure of two")
	}
	v.Observe(errProbe, 1, 2)
	if v.Pending() {
		t.Error("pending after the change")
	}
	if got, want := v.Report(), (Report{Up: false, Fails: 2, LastError: "refused"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	v.Observe(nil, 1, 2)
	if got, want := v.Report(), (Report{Up: true, Passes: 1, Fails: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The status is the result, pass or fail, that last came as often in a row as its threshold. The
// naive model computes it from the whole history.
func TestStatusAgainstModel(t *testing.T) {
	random := weakrand.New(weakrand.NewPCG(3, 4))
	for range 200 {
		passes, fails := 1+random.IntN(4), 1+random.IntN(4)
		up := random.IntN(2) == 0
		v, history := NewStatus(up), []bool(nil)
		for range 60 {
			pass := random.IntN(2) == 0
			var result error
			if !pass {
				result = errProbe
			}
			v.Observe(result, passes, fails)
			history = append(history, pass)
			if v.Up() != model(history, up, passes, fails) {
				t.Fatalf("passes %d, fails %d, %v: up is %v", passes, fails, history, v.Up())
			}
		}
	}
}

func model(history []bool, up bool, passes, fails int) bool {
	for end := len(history); end > 0; end-- {
		row := 1
		for row < end && history[end-1-row] == history[end-1] {
			row++
		}
		if history[end-1] && row >= passes || !history[end-1] && row >= fails {
			return history[end-1]
		}
	}
	return up
}

// MeanDuration is the real duration of probes, while Time counts failures as slow.
func TestMeanDurationOfProbes(t *testing.T) {
	v := NewStatus(true)
	for range 20 {
		v.ObserveDuration(errors.New("sick"), 3*time.Millisecond)
	}
	if got := v.MeanDuration(); got < 2900*time.Microsecond || got > 3100*time.Microsecond {
		t.Errorf("the mean of probes of 3ms is %v", got)
	}
	if got := time.Duration(v.Time.Value(clock.Now(), latency.Decay)); got < 4*time.Second {
		t.Errorf("the average with failures as slow is %v", got)
	}
}
