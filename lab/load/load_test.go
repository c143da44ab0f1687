// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Requests are sent when they are due, however long those before take.
func TestRunKeepsToTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		r := Run(Config{Schedule: Fixed(100), Warm: time.Second, Length: 2 * time.Second, Limit: time.Second, Cap: 1000,
			Do: func(ctx context.Context) Outcome {
				mu.Lock()
				at = append(at, time.Since(began))
				mu.Unlock()
				time.Sleep(300 * time.Millisecond)
				return Answered
			}})
		for i, d := range at {
			if want := time.Duration(i+1) * 10 * time.Millisecond; d != want {
				t.Fatalf("request %d is sent after %v, want %v", i, d, want)
			}
		}
		if len(at) != 299 || r.Due() != 200 || r.Count(Answered) != 200 || r.Rate(r.Due()) != 100 {
			t.Errorf("%d are sent, %d count, %d of them as answered, %v a second", len(at), r.Due(), r.Count(Answered), r.Rate(r.Due()))
		}
		for _, q := range []float64{0, 0.5, 1} { // to three digits
			if d := r.Latency(q); math.Abs(d.Seconds()-0.3) > 0.001 {
				t.Errorf("quantile %v is %v, want 300ms", q, d)
			}
		}
		if r.Late != 0 || r.Unsent != 0 {
			t.Errorf("%d are late and %d not sent", r.Late, r.Unsent)
		}
	})
}

// A client waits from when its request was due, and not for longer.
func TestRunLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Run(Config{Schedule: Fixed(10), Length: time.Second, Limit: time.Second, Cap: 100,
			Do: func(ctx context.Context) Outcome { <-ctx.Done(); return TimedOut }})
		if r.Count(TimedOut) != 9 || r.Count(Answered) != 0 || r.Latency(0.5) != 0 {
			t.Errorf("%d time out, and %d are answered after %v", r.Count(TimedOut), r.Count(Answered), r.Latency(0.5))
		}
	})
}

// Beyond the cap nothing is sent, and that is not hidden.
func TestRunCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Run(Config{Schedule: Fixed(10), Warm: time.Second, Length: 2 * time.Second, Limit: 10 * time.Second, Cap: 3,
			Do: func(ctx context.Context) Outcome { time.Sleep(1050 * time.Millisecond); return Refused }})
		if r.Due() != 20 || r.Unsent == 0 || r.Unsent+r.Count(Refused) != 20 {
			t.Errorf("%d were due, %d not sent and %d refused", r.Due(), r.Unsent, r.Count(Refused))
		}
	})
}

// Nobody is answered after the limit, however late the generator sees it.
func TestRunAnsweredTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Run(Config{Schedule: Fixed(10), Length: time.Second, Limit: time.Second, Cap: 100,
			Do: func(context.Context) Outcome { time.Sleep(1001 * time.Millisecond); return Answered }})
		if r.Count(TimedOut) != 9 || r.Count(Answered) != 0 {
			t.Errorf("%d time out, and %d are answered", r.Count(TimedOut), r.Count(Answered))
		}
	})
}

// The latency of a request that is sent late is from when it was due.
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
		r := Run(Config{Schedule: schedule, Length: 75 * time.Millisecond, Limit: time.Second, Cap: 10,
			Do: func(context.Context) Outcome { return Answered }})
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
		// The mean of n gaps that are exponential deviates by 1/sqrt(n) of it, 0.3 %.
		if math.Abs(mean*700-1) > 0.015 {
			t.Errorf("%s: one each %vs, want %vs", name, mean, 1./700)
		}
		if want := map[string]float64{"fixed": 0, "poisson": 1}[name]; math.Abs(deviation-want) > 0.03 {
			t.Errorf("%s: gaps deviate by %v of the mean, want %v", name, deviation, want)
		}
	}
}

func TestMerge(t *testing.T) {
	a, b := NewResult(), NewResult()
	a.Length, b.Length, b.Unsent = time.Second, 3*time.Second, 5
	a.add(Answered, 10*time.Millisecond, false)
	b.add(Answered, 30*time.Millisecond, true)
	b.add(Refused, time.Millisecond, false)
	a.Merge(b)
	if a.Due() != 8 || a.Count(Answered) != 2 || a.Late != 1 || a.Rate(a.Due()) != 2 {
		t.Errorf("%d due, %d answered, %d late", a.Due(), a.Count(Answered), a.Late)
	}
	if low, high := a.Latency(0.5), a.Latency(1); math.Abs(low.Seconds()-0.01) > 0.001 || math.Abs(high.Seconds()-0.03) > 0.001 {
		t.Errorf("quantiles are %v and %v", low, high)
	}
}

func TestClientTellsOutcomesApart(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/late":
			w.WriteHeader(http.StatusOK)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/broken":
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, "hello")
		}
	}))
	defer server.Close()
	for path, want := range map[string]Outcome{"/": Answered, "/busy": Refused, "/missing": Failed, "/late": TimedOut, "/broken": Failed} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if want == TimedOut {
			ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		}
		client := NewClient(server.Listener.Addr().String(), 10)
		if got := client.Get(ctx, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
		client.Close()
		cancel()
	}
}
