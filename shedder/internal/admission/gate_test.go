// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A fixed limit is never exceeded, and all slots are released.
func TestFixedIsExact(t *testing.T) {
	const limit = 7
	g := NewGate(Config{Rule: Fixed(limit), Queue: 5, Timeout: time.Second}, 0)
	var inside, peak, refused atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	for range 64 {
		all.Go(func() {
			for range 300 {
				ticket, cause := g.Admit(clock(), Normal)
				if cause != "" && rand.IntN(2) == 0 {
					ticket, cause = g.Wait(t.Context(), clock, Normal)
				}
				if cause != "" {
					refused.Add(1)
					continue
				}
				n := inside.Add(1)
				runtime.Gosched()
				for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
				}
				inside.Add(-1)
				ticket.Leave(clock(), NoSignal)
			}
		})
	}
	all.Wait()
	if peak.Load() > limit || g.InFlight() != 0 || g.Waiting() != 0 {
		t.Errorf("peak %d of %d, %d in flight and %d waiting at the end", peak.Load(), limit, g.InFlight(), g.Waiting())
	}
	if refused.Load() == 0 {
		t.Error("nothing was refused, so the test proves nothing")
	}
}

// Exponential refuses in the documented proportions: of n requests, n p +- 5 sqrt(n p (1-p)).
func TestExponentialProportions(t *testing.T) {
	const limit, slope, n = 10, 0.3, 20_000
	for beyond := range 12 {
		g := NewGate(Config{Rule: Fixed(limit), Slope: slope}, 0)
		for g.InFlight() < limit+beyond {
			_, _ = g.Admit(0, Normal)
		}
		refused := 0.0
		for range n {
			if ticket, cause := g.Admit(0, Normal); cause == "" {
				ticket.Leave(0, NoSignal)
			} else {
				refused++
			}
		}
		p := 1 - math.Exp(-slope*float64(beyond))
		if off := math.Abs(refused - n*p); off > 5*math.Sqrt(n*p*(1-p)) {
			t.Errorf("%d beyond the limit: %.1f %% are refused, want %.1f %%", beyond, 100*refused/n, 100*p)
		}
	}
}

// Each level leaves slots free for the higher ones, and gets the remaining ones.
func TestLevelsReserveSlots(t *testing.T) {
	g := NewGate(Config{Rule: Fixed(100), Levels: []Level{Critical, Normal, Background}}, 0)
	for l, want := range map[Level]int{Critical: 100, Normal: 90, Background: 80} {
		var tickets []Ticket
		for {
			ticket, cause := g.Admit(0, l)
			if cause != "" {
				break
			}
			tickets = append(tickets, ticket)
		}
		if len(tickets) != want {
			t.Errorf("%d of level %v are admitted, want %d of 100", len(tickets), l, want)
		}
		for _, ticket := range tickets {
			ticket.Leave(0, NoSignal)
		}
		g.reserve.kept[1].Store(0)
		g.reserve.kept[2].Store(0)
	}
}

// Pressure lowers the limit by a tenth at a time, from the number in flight down to 1. Without
// pressure, the limit recovers.
func TestPressure(t *testing.T) {
	g := NewGate(Config{Rule: Fixed(1000), Pressure: true}, 0)
	var tickets []Ticket
	for range 100 {
		ticket, _ := g.Admit(0, Normal)
		tickets = append(tickets, ticket)
	}
	now := time.Hour
	// The first check only begins a measurement: the number in flight at that moment may be far
	// below the usual one.
	if g.AskPressure(now) || g.AskPressure(now+pressEvery-1) || !g.AskPressure(now+pressEvery) || g.AskPressure(now+pressEvery) {
		t.Error("pressure is not checked every 250ms")
	}
	if g.Press(now, true); g.Limit() != 90 {
		t.Errorf("limit %d under pressure with 100 in flight, want 90", g.Limit())
	}
	for _, ticket := range tickets {
		ticket.Leave(now, NoSignal)
	}
	tickets = tickets[:0]
	for range 90 {
		ticket, _ := g.Admit(now, Normal)
		tickets = append(tickets, ticket)
	}
	if _, cause := g.Admit(now, Normal); cause != CausePressure {
		t.Errorf("refused for %q", cause)
	}
	for range 100 {
		g.Press(now, true)
	}
	if g.Limit() != 1 {
		t.Errorf("limit %d after long pressure, want 1", g.Limit())
	}
	for range 100 {
		g.Press(now, false)
	}
	if _, cause := g.Admit(now, Normal); g.Limit() != 1000 || cause != "" {
		t.Errorf("limit %d after the pressure, %q", g.Limit(), cause)
	}
	for _, ticket := range tickets {
		ticket.Leave(now, NoSignal)
	}
}

// Retry-After is the time in which as many requests complete as were refused in the last second, +-
// 50 %.
func TestRetryAfter(t *testing.T) {
	g := NewGate(Config{Rule: Fixed(1)}, 0)
	now := time.Hour
	g.RetryAfter(now)
	for range 40 { // of one second
		if ticket, cause := g.Admit(now, Normal); cause == "" {
			ticket.Leave(now, NoSignal)
		}
		for range 5 {
			g.Refuse(Normal, CauseLimit)
		}
	}
	for range 100 {
		if d := g.RetryAfter(now + time.Second); d < 2500*time.Millisecond || d > 7500*time.Millisecond {
			t.Fatalf("retry after %v, want 5s +- 2.5s", d)
		}
	}
	if d := g.RetryAfter(now + time.Hour); d < time.Second || d > 2*time.Second {
		t.Errorf("retry after %v long after, want about 1s", d)
	}
	for range 100 { // no request completes
		g.Refuse(Normal, CauseLimit)
	}
	if d := g.RetryAfter(now + time.Hour + time.Second); d < 30*time.Second || d > 90*time.Second {
		t.Errorf("retry after %v while no request completes, want a minute +- 30s", d)
	}
}

func TestAdmitAllocatesNothing(t *testing.T) {
	for _, rule := range []Rule{Fixed(10), gradient, vegas} {
		g, now := NewGate(Config{Rule: rule}, 0), time.Duration(0)
		if n := testing.AllocsPerRun(10_000, func() {
			now += time.Millisecond
			ticket, _ := g.Admit(now, Normal)
			ticket.Leave(now+time.Millisecond, Answered)
		}); n != 0 {
			t.Errorf("%T: %v allocations for a request", rule, n)
		}
	}
}

// BenchmarkAdmit measures the admission and the end of one request, including the reading of the
// clock.
func BenchmarkAdmit(b *testing.B) {
	began := time.Now()
	for name, rule := range map[string]Rule{"fixed": Fixed(1000), "gradient": gradient, "vegas": vegas} {
		g := NewGate(Config{Rule: rule}, 0)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ticket, _ := g.Admit(time.Since(began), Normal)
				ticket.Leave(time.Since(began), Answered)
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ticket, _ := g.Admit(time.Since(began), Normal)
					ticket.Leave(time.Since(began), Answered)
				}
			})
		})
	}
	g := NewGate(Config{Rule: Fixed(1)}, 0)
	_, _ = g.Admit(0, Normal)
	b.Run("refused", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = g.Admit(time.Since(began), Normal)
		}
	})
}
