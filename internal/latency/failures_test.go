// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package latency

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// try simulates a policy that sends a request every 10 ms while the backend does not count as
// failing. It returns the times of the attempts since its call.
func try(f *Failures, d time.Duration, fails func(since time.Duration) bool) (at []time.Duration) {
	for begin := clock.Now(); clock.Now()-begin < d; time.Sleep(10 * ms) {
		now := clock.Now()
		if f.Failing() > 0 {
			continue
		}
		at = append(at, now-begin)
		if f.begin(now); fails(now - begin) {
			f.ObserveFailure(now, 0)
		} else {
			f.ObserveSuccess(now)
		}
	}
	return at
}

// A backend that fails all attempts is tried after 1, 2, 4, 8, 16, 30, 30 s.
func TestBackoffDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour) // the process clock is not 0
		var f Failures
		got := try(&f, 100*time.Second, func(time.Duration) bool { return true })
		want := []time.Duration{0, 1, 3, 7, 15, 31, 61, 91}
		if len(got) != len(want) {
			t.Fatalf("the attempts were at %v, want %v s", got, want)
		}
		for i, at := range got {
			if late := at - want[i]*time.Second; late < 0 || late > time.Duration(i)*10*ms {
				t.Errorf("attempt %d was at %v, want %v s", i, at, want[i])
			}
		}
	})
}

// A success ends the backoff at once. After a time without failures as long as the latest
// backoff, the next one is the shortest again.
func TestBackoffEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		var f Failures
		try(&f, 8*time.Second, func(time.Duration) bool { return true }) // the next trial is at 15 s
		if got := try(&f, 10*time.Second, func(time.Duration) bool { return false }); len(got) < 300-8 || got[0] > 7100*ms {
			t.Fatalf("it was tried %d times in the 3 s after its recovery, first at %v", len(got), got[0])
		}
		time.Sleep(8 * time.Second)
		f.ObserveFailure(clock.Now(), 0)
		time.Sleep(MinBackoff - ms)
		if f.Failing() == 0 {
			t.Error("the backend does not count as failing during its backoff")
		}
		if time.Sleep(2 * ms); f.Failing() != 0 {
			t.Error("the backoff is not the shortest again")
		}
	})
}

// While a trial has no outcome, no other request is sent for the time of the backoff.
func TestTrialHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		var f Failures
		f.ObserveFailure(clock.Now(), 0)
		time.Sleep(MinBackoff)
		for range 3 {
			if f.Failing() != 0 {
				t.Fatal("no trial is due")
			}
			f.begin(clock.Now())
			for range 9 {
				if f.Failing() == 0 {
					t.Fatal("a second trial is due beside the first")
				}
				f.begin(clock.Now())
				time.Sleep(MinBackoff / 10)
			}
			time.Sleep(MinBackoff/10 + time.Nanosecond) // the end of a trial's backoff is odd
		}
		if f.ObserveSuccess(clock.Now()); f.Failing() != 0 {
			t.Error("the backend counts as failing after a successful trial")
		}
	})
}

// Retry-After is respected, up to 300 s.
func TestRetryAfter(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{100 * ms: 100 * ms, time.Minute: time.Minute, 24 * time.Hour: 300 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Hour)
			var f Failures
			for range 1000 {
				f.ObserveSuccess(clock.Now())
			}
			f.ObserveFailure(clock.Now(), asked)
			f.ObserveFailure(clock.Now(), asked/2)
			if time.Sleep(want - ms); f.Failing() != 1 {
				t.Errorf("Retry-After: %v is not respected", asked)
			}
			if time.Sleep(2 * ms); f.Failing() != 0 {
				t.Errorf("Retry-After: %v lasts longer than %v", asked, want)
			}
		})
	}
}

// With 1,000 attempts a second of which a tenth fail, the share is about a tenth, and the backend
// never counts as down.
func TestFailingShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		var f Failures
		random, sum := rand.New(rand.NewPCG(1, 2)), 0.
		f.ObserveFailure(clock.Now(), 0) // the first sample counts in full
		for range 1000 {
			f.ObserveSuccess(clock.Now())
		}
		for range 10000 {
			if f.begin(clock.Now()); random.IntN(10) == 0 {
				f.ObserveFailure(clock.Now(), 0)
			} else {
				f.ObserveSuccess(clock.Now())
			}
			sum += f.FailingShare()
			// With a weight of 1/16 each, the share of 10 % has a standard deviation of 5 %.
			if f.FailingShare() > .6 {
				t.Fatalf("the share is %v", f.FailingShare())
			}
			time.Sleep(ms)
		}
		if mean := sum / 10000; mean < .08 || mean > .12 {
			t.Errorf("the mean share is %v, want 0.1", mean)
		}
	})
}

// After any events, a backend is tried again within 30 s, or the longest Retry-After.
func TestBackoffIsBounded(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Hour)
			var f Failures
			random := rand.New(rand.NewPCG(seed, 0))
			asks := seed%2 == 1
			for range 300 {
				switch now := clock.Now(); random.IntN(5) {
				case 0:
					f.begin(now)
				case 1:
					f.ObserveSuccess(now)
				case 2:
					f.ObserveFailure(now, 0)
				case 3:
					f.observeWait(now, time.Duration(random.IntN(10_000))*ms)
				case 4:
					if asks {
						f.ObserveFailure(now, time.Duration(random.IntN(1000))*time.Second)
					}
				}
				time.Sleep(time.Duration(random.IntN(3_000)) * ms)
			}
			longest := MaxBackoff
			if asks {
				longest = MaxRetryAfter
			}
			if time.Sleep(longest); f.Failing() != 0 || f.Penalty() != 0 {
				t.Errorf("seed %d: the backend still counts as failing", seed)
			}
		})
	}
}

// After concurrent events the backend can recover.
func TestFailuresConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		var f Failures
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 1000 {
					now := clock.Now()
					f.begin(now)
					if f.ObserveFailure(now, 0); i%2 == 0 {
						f.observeWait(now, time.Second)
					}
					f.ObserveSuccess(now)
					time.Sleep(ms)
				}
			})
		}
		wg.Wait()
		time.Sleep(MaxBackoff)
		if f.begin(clock.Now()); f.Failing() == 0 && f.FailingShare() >= least {
			t.Error("a second trial is due beside the first")
		}
		if f.ObserveSuccess(clock.Now()); f.Failing() != 0 || f.Penalty() != 0 {
			t.Error("a success does not end the backoff")
		}
	})
}
