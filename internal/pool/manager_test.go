// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

func TestCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := health.NewStatus(true)
		v := health.NewStatus(true)
		b := backend.New("p", backend.Endpoint{Address: "a", Settings: backend.Settings{Weight: new(1)}}, backend.NewState(), []*health.Status{v, agent}, nil)
		p := NewPool("p")
		p.SetMembers(NewMembers([]*backend.Backend{b}))
		expect := func(state, reason string, since time.Duration) {
			t.Helper()
			c := b.Condition()
			if c.State != state || c.Reason != reason || time.Since(c.Since) != since {
				t.Errorf("%s (%s) for %v, want %s (%s) for %v", c.State, c.Reason, time.Since(c.Since), state, reason, since)
			}
		}
		time.Sleep(time.Second)
		expect(backend.StateUp, "", time.Second)
		rules := &outlier.Rules{EjectFor: time.Minute, MaxEjectFor: time.Minute}
		b.Eject(clock.Now(), rules, "bad", false)
		p.Publish()
		time.Sleep(time.Second)
		expect(backend.StateEjected, "bad", time.Second)
		v.Observe(errRefused, 1, 1)
		expect(backend.StateDown, errRefused.Error(), 0)
		a := health.Drain
		agent.ApplyInstruction(health.Instruction{Admin: &a})
		expect(backend.StateDrain, "agent", 0)
		b.SetAdmin(health.Drain)
		time.Sleep(time.Second)
		expect(backend.StateDrain, "operator", time.Second)
		b.SetAdmin(health.Maint)
		expect(backend.StateMaint, "operator", 0)
	})
}

// An operator's bound is in force with the next view, and only then, for requests
// do not look at it.
func TestOperatorBound(t *testing.T) {
	b := backend.New("p", backend.Endpoint{Address: "a", Settings: backend.Settings{Weight: new(1), MaxRequests: new(5)}}, backend.NewState(), nil, nil)
	p := NewPool("p")
	p.SetMembers(NewMembers([]*backend.Backend{b}))
	two, none := 2, 0
	for _, tt := range []struct {
		bound *int
		want  int
	}{{&two, 2}, {&none, 0}, {nil, 5}} {
		b.SetMaxRequests(tt.bound)
		p.Publish()
		if b.Limit() != tt.want {
			t.Errorf("the limit is %d, want %d", b.Limit(), tt.want)
		}
	}
}

// Of a steady rate of 10 a second for 100 s, what is counted is of 30 to 60 s.
func TestHistogramRate(t *testing.T) {
	s := backend.NewState()
	begin := 1000 * time.Second
	for i := range 1000 {
		at := begin + time.Duration(i)*100*time.Millisecond
		s.Histogram.Observe(at, time.Millisecond)
		if i%50 != 49 {
			continue
		}
		elapsed := float64(i+1) / 10
		want := 10.0 // but for one that may fall to the other side of a window
		if got := s.Histogram.Rate(at+100*time.Millisecond, begin); math.Abs(got-want) > 10/min(elapsed, 30)*0.4 {
			t.Errorf("after %.0f s: %v a second", elapsed, got)
		}
	}
	if got := s.Histogram.Rate(begin+200*time.Second, begin); got != 0 {
		t.Errorf("%v a second, long after the last", got)
	}
}

// keeps is a policy with so many sessions.
type keeps struct {
	n        int
	complete bool
	in       any
}

func (k keeps) Sessions(*backend.Backend) (int, bool) { return k.n, k.complete }
func (k keeps) Counts() any                           { return k.in }
func (keeps) Forget(*backend.Backend)                 {}

// A backend is drained where nobody keeps sessions, or all who do know that there are
// none. Those who count together count once.
func TestSessions(t *testing.T) {
	b := backend.New("p", backend.Endpoint{Address: "a"}, backend.NewState(), nil, nil)
	for name, tt := range map[string]struct {
		counters []keeps
		want     SessionCount
		drained  bool
	}{
		"none":                   {nil, SessionCount{Complete: true}, true},
		"empty":                  {[]keeps{{0, true, 1}, {0, true, 2}}, SessionCount{true, 0, true}, true},
		"sessions":               {[]keeps{{3, true, 1}, {4, true, 2}}, SessionCount{true, 7, true}, false},
		"counted together":       {[]keeps{{3, true, 1}, {3, true, 1}}, SessionCount{true, 3, true}, false},
		"one does not know yet":  {[]keeps{{0, true, 1}, {0, false, 2}}, SessionCount{true, 0, false}, false},
		"one knows of some only": {[]keeps{{2, false, 1}}, SessionCount{true, 2, false}, false},
	} {
		p := NewPool("p")
		for _, k := range tt.counters {
			p.AddSessionCounter(k)
		}
		if got := p.Sessions(b); got != tt.want || p.Drained(b) != tt.drained {
			t.Errorf("%s: %+v, drained %v", name, got, p.Drained(b))
		}
	}
}
