// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Requests are sent when they are due, whatever the latency of earlier ones.
func TestRunKeepsToTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		r := Run(t.Context(), Config{Schedule: Fixed(100), WarmUp: time.Second, Length: 2 * time.Second, Timeout: time.Second, MaxInFlight: 1000,
			Do: func(ctx context.Context, _ Request) Reply {
				mu.Lock()
				at = append(at, time.Since(began))
				mu.Unlock()
				time.Sleep(300 * time.Millisecond)
				return Reply{Outcome: Answered}
			}})
		for i, d := range at {
			if want := time.Duration(i+1) * 10 * time.Millisecond; d != want {
				t.Fatalf("request %d is sent after %v, want %v", i, d, want)
			}
		}
		if len(at) != 299 || r.Sent != 299 || r.Due() != 200 || r.Count(Answered) != 200 || r.Rate(r.Due()) != 100 {
			t.Errorf("%d are sent, %d by its count, %d count, %d of them as answered, %v a second", len(at), r.Sent, r.Due(), r.Count(Answered), r.Rate(r.Due()))
		}
		for _, q := range []float64{0, 0.5, 1} { // histograms have three digits
			if d := r.Latency(q); math.Abs(d.Seconds()-0.3) > 0.001 {
				t.Errorf("quantile %v is %v, want 300ms", q, d)
			}
		}
		if r.Late != 0 || r.Unsent != 0 {
			t.Errorf("%d are late and %d not sent", r.Late, r.Unsent)
		}
	})
}

// The timeout starts when a request was due.
func TestRunLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Run(t.Context(), Config{Schedule: Fixed(10), Length: time.Second, Timeout: time.Second, MaxInFlight: 100,
			Do: func(ctx context.Context, _ Request) Reply { <-ctx.Done(); return Reply{Outcome: TimedOut} }})
		if r.Count(TimedOut) != 9 || r.Count(Answered) != 0 || r.Latency(0.5) != 0 {
			t.Errorf("%d time out, and %d are answered after %v", r.Count(TimedOut), r.Count(Answered), r.Latency(0.5))
		}
	})
}

// Requests beyond MaxInFlight are not sent, and counted.
func TestRunCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Run(t.Context(), Config{Schedule: Fixed(10), WarmUp: time.Second, Length: 2 * time.Second, Timeout: 10 * time.Second, MaxInFlight: 3,
			Do: func(ctx context.Context, _ Request) Reply {
				time.Sleep(1050 * time.Millisecond)
				return Reply{Outcome: Refused}
			}})
		if r.Due() != 20 || r.Unsent == 0 || r.Unsent+r.Count(Refused) != 20 || r.Sent >= 29 {
			t.Errorf("%d were due, %d not sent and %d refused; %d were sent with those of the warm-up", r.Due(), r.Unsent, r.Count(Refused), r.Sent)
		}
	})
}

// An answer after the timeout counts as timed out, even if the generator notices the timeout late.
func TestRunAnsweredTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Run(t.Context(), Config{Schedule: Fixed(10), Length: time.Second, Timeout: time.Second, MaxInFlight: 100,
			Do: func(context.Context, Request) Reply {
				time.Sleep(1001 * time.Millisecond)
				return Reply{Outcome: Answered}
			}})
		if r.Count(TimedOut) != 9 || r.Count(Answered) != 0 {
			t.Errorf("%d time out, and %d are answered", r.Count(TimedOut), r.Count(Answered))
		}
	})
}

// The latency of a request that is sent late starts when it was due.
func TestRunLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		schedule := func() time.Duration {
			if first {
				first = false
				return 0
			}
			time.Sleep(100 * time.Millisecond) // the generator is busy
			return 50 * time.Millisecond
		}
		r := Run(t.Context(), Config{Schedule: schedule, Length: 75 * time.Millisecond, Timeout: time.Second, MaxInFlight: 10,
			Do: func(context.Context, Request) Reply { return Reply{Outcome: Answered} }})
		if d := r.Latency(1); r.Late != 1 || math.Abs(d.Seconds()-0.05) > 0.001 {
			t.Errorf("%d are late, the latest by %v, want 1 by 50ms", r.Late, d)
		}
	})
}

func TestSchedulesHaveTheirRate(t *testing.T) {
	const n = 100_000
	for name, schedule := range map[string]Schedule{"fixed": Fixed(700), "poisson": Poisson(700, 1)} {
		var sum, squares float64
		for range n {
			gap := schedule().Seconds()
			sum += gap
			squares += gap * gap
		}
		mean := sum / n
		deviation := math.Sqrt(squares/n-mean*mean) / mean
		// The standard deviation of the mean of n exponential gaps is 1/sqrt(n) of it, 0.3 %.
		if math.Abs(mean*700-1) > 0.015 {
			t.Errorf("%s: one each %vs, want %vs", name, mean, 1./700)
		}
		if want := map[string]float64{"fixed": 0, "poisson": 1}[name]; math.Abs(deviation-want) > 0.03 {
			t.Errorf("%s: gaps deviate by %v of the mean, want %v", name, deviation, want)
		}
	}
}

func sample(o Outcome, took time.Duration, server string) Sample {
	return Sample{Reply: Reply{Outcome: o, Server: server}, At: 1500 * time.Millisecond, Latency: took, ServiceTime: took}
}

func TestMerge(t *testing.T) {
	a, b := NewResult(), NewResult()
	a.Length, b.Length, b.Unsent = time.Second, 3*time.Second, 5
	a.add(sample(Answered, 10*time.Millisecond, "a"), false)
	b.add(sample(Answered, 30*time.Millisecond, "b"), true)
	b.add(sample(Refused, time.Millisecond, ""), false)
	a.Merge(b)
	if a.Due() != 8 || a.Count(Answered) != 2 || a.Late != 1 || a.Rate(a.Due()) != 2 {
		t.Errorf("%d due, %d answered, %d late", a.Due(), a.Count(Answered), a.Late)
	}
	if low, high := a.Latency(0.5), a.Latency(1); math.Abs(low.Seconds()-0.01) > 0.001 || math.Abs(high.Seconds()-0.03) > 0.001 {
		t.Errorf("quantiles are %v and %v", low, high)
	}
	if a.Servers["a"] != 1 || a.Servers["b"] != 1 || len(a.Seconds) != 2 || a.Seconds[1].Count(Answered) != 2 {
		t.Errorf("the backends %v answered, in %d seconds", a.Servers, len(a.Seconds))
	}
}

// A client of a closed loop sends its next request one think time after the answer.
func TestRunClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := make(map[int][]time.Duration)
		r := Run(t.Context(), Config{Clients: 2, Think: 100 * time.Millisecond, WarmUp: time.Second, Length: 2 * time.Second,
			Each: func(s Sample) { at[s.Client] = append(at[s.Client], s.At) },
			Do: func(_ context.Context, r Request) Reply {
				return Reply{Outcome: Answered, Server: string(rune('a' + r.Client))}
			}})
		for client, offset := range []time.Duration{0, 50 * time.Millisecond} { // clients begin within one think time
			for i, d := range at[client] {
				if want := offset + time.Duration(i)*100*time.Millisecond; d != want {
					t.Fatalf("client %d sends request %d after %v, want %v", client, i, d, want)
				}
			}
		}
		if r.Count(Answered) != 40 || r.Servers["a"] != 20 || r.Servers["b"] != 20 || len(r.Seconds) != 2 || r.Seconds[1].Count(Answered) != 20 {
			t.Errorf("%d are answered, by backend %v, in %d seconds", r.Count(Answered), r.Servers, len(r.Seconds))
		}
	})
}

// A closed loop sends less when answers are slow; an open loop does not.
func TestLoopsDifferUnderOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := make(chan struct{}, 1) // answers 10 a second
		do := func(ctx context.Context, _ Request) Reply {
			select {
			case server <- struct{}{}:
			case <-ctx.Done():
				return Reply{Outcome: TimedOut}
			}
			time.Sleep(100 * time.Millisecond)
			<-server
			return Reply{Outcome: Answered}
		}
		closed := Run(t.Context(), Config{Clients: 1, Length: 10 * time.Second, Timeout: time.Minute, Do: do})
		open := Run(t.Context(), Config{Schedule: Fixed(20), Length: 10 * time.Second, Timeout: time.Minute, Do: do})
		if closed.Latency(1) > 101*time.Millisecond || closed.Due() != 100 {
			t.Errorf("the closed loop sends %d and waits for %v", closed.Due(), closed.Latency(1))
		}
		// The last of 199 is due after 9.95 s, and answered after 19.95 s. Histograms are exact to 0.1 %.
		if longest := open.Latency(1); open.Due() != 199 || math.Abs(longest.Seconds()-10) > 0.01 {
			t.Errorf("the open loop sends %d and waits for %v", open.Due(), longest)
		}
	})
}

// Both loops end with their context, and rates refer to the time until then.
func TestRunEndsWithItsContext(t *testing.T) {
	for name, c := range map[string]Config{"open": {Schedule: Fixed(10)}, "closed": {Clients: 1, Think: 100 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3050*time.Millisecond)
			defer cancel()
			c.WarmUp, c.Length = time.Second, time.Hour
			c.Do = func(context.Context, Request) Reply { return Reply{Outcome: Answered} }
			r := Run(ctx, c)
			if r.Length != 2050*time.Millisecond || r.Count(Answered) < 20 || r.Count(Answered) > 21 {
				t.Errorf("%s: %d in %v", name, r.Count(Answered), r.Length)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []Progress
		Run(t.Context(), Config{Schedule: Fixed(10), Length: 3550 * time.Millisecond, Do: func(context.Context, Request) Reply {
			time.Sleep(250 * time.Millisecond)
			return Reply{Outcome: Answered}
		}, Progress: func(p Progress) { seen = append(seen, p) }})
		if len(seen) != 3 {
			t.Fatalf("%d calls in 3.8 s", len(seen))
		}
		for i, p := range seen {
			// At a full second the requests of the last 250 ms are in flight, and possibly the one
			// that is due at that moment.
			if p.Elapsed != time.Duration(i+1)*time.Second || p.InFlight < 2 || p.InFlight > 3 || p.Recent.Count(Answered) > 10 {
				t.Errorf("%d: %v, %d in flight, %d answered", i, p.Elapsed, p.InFlight, p.Recent.Count(Answered))
			}
		}
	})
}

// Each stage has its rate, and the schedule ends with the last stage.
func TestStages(t *testing.T) {
	schedule := Stages(1, Stage{1000, 20 * time.Second}, Stage{4000, 10 * time.Second})
	var at time.Duration
	var counts [2]int
	for gap := schedule(); gap >= 0; gap = schedule() {
		at += gap
		if at < 20*time.Second {
			counts[0]++
		} else {
			counts[1]++
		}
	}
	for i, want := range []float64{20_000, 40_000} { // five standard deviations of a Poisson count, its square root
		if math.Abs(float64(counts[i])-want) > 5*math.Sqrt(want) {
			t.Errorf("stage %d sends %d, want %v", i, counts[i], want)
		}
	}
	if at > 30*time.Second {
		t.Errorf("the last is due after %v", at)
	}
}
