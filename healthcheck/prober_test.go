// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// scripted is a check with results from the test.
type scripted struct {
	Schedule
	probe func(ctx context.Context) error
}

func (s *scripted) Probe(ctx context.Context, _ Target) error { return s.probe(ctx) }

func newScripted(t *testing.T, schedule Schedule, probe func(context.Context) error) *scripted {
	t.Helper()
	if schedule.Jitter == nil {
		schedule.Jitter = new(float64) // 0, so that times are exact
	}
	s := &scripted{schedule, probe}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// watch starts a prober with a check, and records the changes of its status.
func watch(t *testing.T, c Check) (p *Prober, changes func() []string) {
	refs, began := new(shared.Refs), time.Now()
	p = SharedProber(refs, backend.StateKey{Address: t.Name()}, "x", c.Timing())
	var seen []string
	u := &User{Check: c, Changed: func() {
		r := p.Status.Report()
		seen = append(seen, fmt.Sprintf("%v %v %s", time.Since(began), r.Up, r.LastError))
	}}
	p.Start(u)
	t.Cleanup(func() { p.Stop(u); refs.Release() })
	return p, func() []string { return seen }
}

func TestThresholdsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var probes []time.Duration
		c := newScripted(t, Schedule{}, func(context.Context) error { // 2s, passes 2, fails 3
			since := time.Since(began)
			probes = append(probes, since)
			if since < 9*time.Second {
				return errors.New("refused")
			}
			return nil
		})
		_, changes := watch(t, c)
		pass(13 * time.Second)
		// Probes are at 0 and then every 2s. The third failure, at 4s, changes the status to down,
		// the second pass, at 12s, to up.
		if want := []string{"4s false refused", "12s true "}; !slices.Equal(changes(), want) {
			t.Errorf("got %v, want %v", changes(), want)
		}
		if len(probes) != 7 || probes[0] != 0 || probes[1] != 2*time.Second {
			t.Errorf("probed at %v", probes)
		}
	})
}

func TestDownAndEdgeIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := caddy.Duration(time.Second)
		began := time.Now()
		var probes []time.Duration
		c := newScripted(t, Schedule{Interval: 10 * second, EdgeInterval: second, DownInterval: 30 * second, Fails: 3}, func(context.Context) error {
			since := time.Since(began)
			probes = append(probes, since/time.Second)
			if since >= 10*time.Second && since < time.Minute {
				return errors.New("refused")
			}
			return nil
		})
		watch(t, c)
		pass(85 * time.Second)
		// The interval is 10s while up; after the failure at 10s it is 1s, until the status is down
		// at 12s; then 30s, until a pass at 72s; then 1s, until the status is up at 73s; then 10s
		// again.
		if want := []time.Duration{0, 10, 11, 12, 42, 72, 73, 83}; !slices.Equal(probes, want) {
			t.Errorf("probed at %v s, want %v", probes, want)
		}
	})
}

// With a jitter of 20% each interval is from 0.8 to 1.2 times the configured one, and they differ.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jitter := 0.2
		var probes []time.Time
		c := newScripted(t, Schedule{Interval: caddy.Duration(time.Second), Jitter: &jitter}, func(context.Context) error {
			probes = append(probes, time.Now())
			return nil
		})
		watch(t, c)
		pass(time.Minute)
		var gaps []time.Duration
		for i := range probes[1:] {
			gap := probes[i+1].Sub(probes[i])
			if gap < 800*time.Millisecond || gap > 1200*time.Millisecond {
				t.Errorf("an interval of %v", gap)
			}
			gaps = append(gaps, gap)
		}
		slices.Sort(gaps)
		if gaps[0] > 900*time.Millisecond || gaps[len(gaps)-1] < 1100*time.Millisecond { // of 50 draws, some are in each tenth of the range
			t.Errorf("intervals from %v to %v do not spread", gaps[0], gaps[len(gaps)-1])
		}
	})
}

// Reloads do not make probes earlier: 50 intervals of 0.8 to 1.2 s take 50 s, with a standard
// deviation of 0.8 s. With a draw at each reload they would take little more than 40 s, since the
// earliest time counts.
func TestReloadsKeepJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes, jitter := 0, 0.2
		c := newScripted(t, Schedule{Interval: caddy.Duration(time.Second), Jitter: &jitter}, func(context.Context) error {
			probes++
			return nil
		})
		refs := new(shared.Refs)
		defer refs.Release()
		p := SharedProber(refs, backend.StateKey{Address: t.Name()}, "x", c.Timing())
		current := &User{Check: c, Changed: func() {}}
		p.Start(current)
		for range 1000 {
			pass(50 * time.Millisecond)
			next := &User{Check: c, Changed: func() {}}
			p.Start(next)
			p.Stop(current)
			current = next
		}
		p.Stop(current)
		if probes < 45 || probes > 56 {
			t.Errorf("%d probes in 50 intervals", probes)
		}
	})
}

// A probe that hangs fails at its timeout. The next one starts no later than that, and never
// overlaps it.
func TestHangingProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := 0
		c := newScripted(t, Schedule{
			Interval: caddy.Duration(100 * time.Millisecond), Timeout: caddy.Duration(time.Second), Fails: 2,
		}, func(ctx context.Context) error {
			if running++; running > 1 {
				t.Error("two concurrent probes of one backend")
			}
			<-ctx.Done()
			running--
			return ctx.Err()
		})
		_, changes := watch(t, c)
		pass(2100 * time.Millisecond)
		want := "2s false no answer within 1s: context deadline exceeded"
		if got := changes(); len(got) != 1 || got[0] != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A probe that hangs does not delay the probes of other backends.
func TestProbesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refs := new(shared.Refs)
		defer refs.Release()
		count := 0
		hangs := newScripted(t, Schedule{Timeout: caddy.Duration(time.Hour)}, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		answers := newScripted(t, Schedule{Interval: caddy.Duration(time.Second)}, func(context.Context) error { count++; return nil })
		for i, c := range []Check{hangs, answers} {
			p := SharedProber(refs, backend.StateKey{Address: fmt.Sprint(t.Name(), i)}, "x", c.Timing())
			u := &User{Check: c}
			p.Start(u)
			defer p.Stop(u)
		}
		pass(9500 * time.Millisecond)
		if count != 10 {
			t.Errorf("%d probes in 9.5 s, want 10", count)
		}
	})
}

func TestPanickingCheckFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(t, Schedule{Fails: 1}, func(context.Context) error { panic("oops") })
		p, _ := watch(t, c)
		pass(time.Second)
		if r := p.Status.Report(); r.Up || r.LastError != "the check panicked: oops" {
			t.Errorf("got %+v", r)
		}
	})
}

// A callback that panics, such as an event handler, does not stop the probes.
func TestPanickingListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refs, count := new(shared.Refs), 0
		defer refs.Release()
		c := newScripted(t, Schedule{Fails: 1}, func(context.Context) error { count++; return errors.New("refused") })
		p := SharedProber(refs, backend.StateKey{Address: t.Name()}, "x", c.Timing())
		u := &User{Check: c, Changed: func() { panic("oops") }}
		p.Start(u)
		defer p.Stop(u)
		pass(5 * time.Second)
		if count != 3 {
			t.Errorf("%d probes in 5 s, want 3", count)
		}
	})
}

func TestInitialDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScripted(t, Schedule{Initial: "down"}, func(context.Context) error { return nil })
		p, changes := watch(t, c)
		if p.Status.Up() {
			t.Error("up before the first change")
		}
		pass(3 * time.Second)
		if want := []string{"2s true "}; !slices.Equal(changes(), want) {
			t.Errorf("got %v, want %v", changes(), want)
		}
	})
}

// The identity of a check does not include its schedule: a status survives a change of the
// schedule, but not of other options.
func TestIdentity(t *testing.T) {
	identity := func(s string) string {
		id, err := Identity(json.RawMessage(s))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	base := identity(`{"check":"http","uri":"/health"}`)
	for s, same := range map[string]bool{
		`{ "uri": "/health", "check": "http" }`: true,
		`{"check":"http","uri":"/health","interval":"9s","timeout":5,"passes":3,"fails":3,"down_interval":1,"edge_interval":1,"jitter":0.5,"initial":"down"}`: true,
		`{"check":"http","uri":"/other"}`:              false,
		`{"check":"http","uri":"/health","port":9000}`: false,
		`{"check":"tcp"}`:                              false,
	} {
		if got := identity(s) == base; got != same {
			t.Errorf("%s is the same check: %v, want %v", s, got, same)
		}
	}
	if _, err := Identity(json.RawMessage("nonsense")); err == nil {
		t.Error("no error for invalid JSON")
	}
}

func TestScheduleRejects(t *testing.T) {
	two := 2.0
	for want, s := range map[string]Schedule{
		"interval must be a duration from 10ms":       {Interval: -1},
		"passes must be a whole number of at least 1": {Passes: -1},
		"fails must be a whole number of at least 1":  {Fails: -1},
		"jitter must be a ratio from 0% to 100%":      {Jitter: &two},
		"initial must be up or down":                  {Initial: "sideways"},
		"port must be a whole number from 1":          {Port: 65536},
	} {
		if err := s.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// pass lets virtual time pass, and waits until the goroutines are idle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
