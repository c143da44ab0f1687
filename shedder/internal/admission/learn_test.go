// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// The capacity, in requests a second, of three backends with ten workers that take 50ms.
const capacity = 600

var (
	anywhere = Bounds{Start: 64, Min: 1, Max: 1000}
	gradient = Gradient{Bounds: anywhere, Tolerance: 1.5}
	vegas    = Vegas{Bounds: anywhere}
)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// At any offered load, the goodput is near the capacity and the latency is low. Below 80 % of the
// capacity nothing is refused. With exponential service times, p99 is 230ms without any load (50ms
// x ln 100), so it is not bounded here, and at the capacity bursts cost some goodput.
func TestGoodput(t *testing.T) {
	for name, rule := range map[string]Rule{"gradient": gradient, "vegas": vegas} {
		for _, x := range []float64{0.5, 0.8, 1, 1.5, 2, 3, 5, 10} {
			for seed := range uint64(3) {
				s := newSimulation(rule, seed)
				s.rate = capacity * x
				s.start(20 * time.Second)
				good, _, p99 := s.figures(time.Hour)
				if x <= 0.8 && s.refused[Normal] > 0 {
					t.Errorf("%s at %vx refuses %d", name, x, s.refused[Normal])
				}
				if x >= 1 && good < 0.95*capacity {
					t.Errorf("%s at %vx answers %.0f a second, want 95 %% of %d", name, x, good, capacity)
				}
				if p99 > ms(150) {
					t.Errorf("%s at %vx: p99 is %v, want 3 x 50ms at most", name, x, p99)
				}
				s = newSimulation(rule, seed)
				s.rate, s.service = capacity*x, exponential(ms(50))
				s.start(20 * time.Second)
				if good, _, _ := s.figures(time.Hour); x >= 1 && good < 0.88*capacity {
					t.Errorf("%s at %vx, exponential times: answers %.0f a second, want 88 %% of %d", name, x, good, capacity)
				}
			}
		}
	}
}

// A minute of overload does not change the base, and so not the limit (the published Vegas and
// Gradient2 drift up with the queue).
func TestBaseDoesNotDrift(t *testing.T) {
	for name, rule := range map[string]Rule{"gradient": gradient, "vegas": vegas} {
		s := newSimulation(rule, 1)
		s.rate = 3 * capacity
		s.start(time.Minute)
		if state, _ := s.gate.State(); state.Base < ms(48) || state.Base > ms(55) {
			t.Errorf("%s: the base is %v after a minute, want 50ms", name, state.Base)
		}
	}
}

// When the speed of the backends changes under three times their load, the limit adapts within ten
// seconds, and an outdated base does not keep it at the minimum.
func TestLimitFollowsCapacity(t *testing.T) {
	for name, rule := range map[string]Rule{"gradient": gradient, "vegas": vegas} {
		for _, tt := range []struct {
			what     string
			workers  int
			time     time.Duration
			capacity float64
		}{
			{"half the workers", 5, ms(50), 300},
			{"twice the workers", 20, ms(50), 1200},
			{"twice the time", 10, ms(100), 300},
			{"four times the time", 10, ms(200), 150},
			{"half the time", 10, ms(25), 1200},
		} {
			for seed := range uint64(3) {
				s := newSimulation(rule, seed)
				s.rate = 3 * 1200
				s.start(15 * time.Second)
				s.workers, s.service = []int{tt.workers, tt.workers, tt.workers}, constant(tt.time)
				s.run(s.now + 10*time.Second)
				from := s.now
				s.run(s.now + 10*time.Second)
				if good, _, p99 := s.figures(from); good < 0.9*tt.capacity || p99 > 3*tt.time {
					t.Errorf("%s, %s: %.0f a second of %.0f, p99 %v", name, tt.what, good, tt.capacity, p99)
				}
			}
		}
	}
}

// Critical requests, which alone are 92 % of the capacity, are answered while the whole load is
// three times the capacity.
func TestCriticalFirst(t *testing.T) {
	for name, rule := range map[string]Rule{"gradient": gradient, "vegas": vegas, "fixed": Fixed(60)} {
		for seed := range uint64(5) {
			s := newSimulation(rule, seed, Critical, Background)
			s.rate, s.critical = 3*capacity, 0.307
			s.start(30 * time.Second)
			if refused := float64(s.refused[Critical]) / float64(s.offered[Critical]); refused > 0.005 {
				t.Errorf("%s refuses %.2f %% of the critical requests", name, 100*refused)
			}
			// A fixed limit keeps slots free for critical requests, which never exceed it, so its
			// goodput is lower.
			if good, _, p99 := s.figures(time.Hour); good < 0.92*capacity || name != "fixed" && good < 0.95*capacity || p99 > ms(150) {
				t.Errorf("%s: %.0f a second of %d, p99 %v", name, good, capacity, p99)
			}
		}
	}
}

// AIMD raises the limit until clients time out after 1s, and then keeps it where few time out.
func TestAIMD(t *testing.T) {
	s := newSimulation(AIMD{Bounds: anywhere, Timeout: time.Second}, 1)
	s.rate = 3 * capacity
	s.start(time.Minute)
	if good, p50, _ := s.figures(s.now - 20*time.Second); good < 0.95*capacity || p50 > time.Second {
		t.Errorf("%.0f a second of %d, p50 %v", good, capacity, p50)
	}
}

// After any window, the limit of a rule is within the bounds, and its state has no NaN or infinity.
func TestRulesKeepBounds(t *testing.T) {
	bounds := Bounds{Start: 20, Min: 3, Max: 300}
	for _, rule := range []Learner{Gradient{bounds, 1.5}, Vegas{bounds}, AIMD{bounds, time.Second}} {
		t.Run(fmt.Sprintf("%T", rule), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			s, now := rule.Start(), time.Hour
			for range 100_000 {
				length := time.Duration(rng.Int64N(int64(2*time.Second))) + time.Microsecond
				now += length
				w := Window{
					End: now, Length: length, Answers: rng.IntN(3) * rng.IntN(1000), Peak: rng.IntN(500),
					Drops: rng.IntN(2) * rng.IntN(100), Refused: rng.IntN(2) * rng.IntN(1000), Urgent: rng.IntN(2),
				}
				if w.Answers > 0 {
					w.Raw = time.Duration(math.Exp(rng.Float64()*20)) * time.Microsecond / 10
					w.Latency = w.Raw
					if clip := s.Clip(); clip > 0 {
						w.Latency = min(w.Raw, clip)
					}
				}
				if s.Probe > 0 {
					w.Probed = rng.IntN(40)
					w.ProbedLatency = w.Latency
				}
				var reason Reason
				s, reason = rule.Next(s, w)
				if !(s.Limit >= 3 && s.Limit <= 300) || s.Base < 0 || !(s.Probe >= 0) || !(s.Busy >= 0) || reason == "" {
					t.Fatalf("after %+v: %+v, %q", w, s, reason)
				}
			}
		})
	}
}

// Requests that the backends refuse keep the limit from growing; a rule that did not count them
// would only measure fast answers.
func TestDropsCount(t *testing.T) {
	s := State{Limit: 50, Base: ms(50), Anchor: ms(50), Since: 1, ConfirmedAt: time.Hour, Rate: 600}
	w := Window{End: time.Hour, Length: ms(100), Answers: 60, Latency: ms(50), Raw: ms(50), Peak: 50, Refused: 10}
	for _, rule := range []Learner{gradient, vegas, AIMD{anywhere, time.Second}} {
		if next, _ := rule.Next(s, w); next.Limit <= s.Limit {
			t.Errorf("%T: the limit does not grow without drops", rule)
		}
		w.Drops = 20
		next, reason := rule.Next(s, w)
		if next.Limit > s.Limit || reason != ReasonDrops {
			t.Errorf("%T: the limit is %v after drops, for reason %s", rule, next.Limit, reason)
		}
		w.Drops = 0
	}
}
