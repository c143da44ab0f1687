// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package periodic

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// steps returns a worker that records when, since now, it took a step for whom.
func steps(interval time.Duration) (w *Task[string], log func() []string) {
	began := time.Now()
	var lines []string
	w = &Task[string]{
		Run: func(_ context.Context, user string) func() {
			lines = append(lines, time.Since(began).String()+" "+user)
			return nil
		},
		Interval: func(string) time.Duration { return interval },
	}
	return w, func() []string { return lines }
}

func TestWorkerKeepsItsRhythm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := steps(time.Second)
		w.Start("old")
		pass(2500 * time.Millisecond)
		w.Start("new") // a reload: the new configuration starts first
		w.Stop("old")
		pass(time.Second)
		w.Start("rejected")
		w.Stop("rejected")
		pass(time.Second)
		w.Stop("new")
		pass(time.Minute)
		w.Start("later") // after a break, at once
		pass(time.Millisecond)
		w.Stop("later")
		w.Stop("later")
		want := []string{"0s old", "1s old", "2s old", "3s new", "4s new", "1m4.5s later"}
		if !slices.Equal(log(), want) {
			t.Errorf("got %v, want %v", log(), want)
		}
	})
}

// A reload that shortens the interval does not wait for the longer one to pass,
// and one that lengthens it lets the step be that is due.
func TestWorkerTakesAShorterInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		w := &Task[time.Duration]{
			Run:      func(context.Context, time.Duration) func() { at = append(at, time.Since(began)); return nil },
			Interval: func(user time.Duration) time.Duration { return user },
		}
		w.Start(time.Hour)
		pass(10 * time.Second)
		w.Start(time.Minute)
		w.Stop(time.Hour)
		pass(2 * time.Minute)
		w.Start(time.Hour + 1)
		w.Stop(time.Minute)
		pass(time.Minute)
		w.Stop(time.Hour + 1)
		if want := []time.Duration{0, time.Minute, 2 * time.Minute, 3 * time.Minute}; !slices.Equal(at, want) {
			t.Errorf("steps at %v, want %v", at, want)
		}
	})
}

// Wake has a step taken at once, also when one is running, and one at a time.
func TestWorkerWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		w := &Task[int]{
			Run: func(context.Context, int) func() {
				at = append(at, time.Since(began))
				time.Sleep(time.Second)
				return nil
			},
			Interval: func(int) time.Duration { return time.Hour },
		}
		w.Wake() // nobody is there
		w.Start(1)
		pass(500 * time.Millisecond)
		w.Wake()
		w.Wake()
		pass(4 * time.Second)
		w.Wake()
		pass(4 * time.Second)
		w.Stop(1)
		w.Wake()
		pass(4 * time.Second)
		if want := []time.Duration{0, time.Second, 4500 * time.Millisecond}; !slices.Equal(at, want) {
			t.Errorf("steps at %v, want %v", at, want)
		}
	})
}

// Reloads that come faster than a step takes do not interrupt it; the last
// Stop does, and waits for it.
func TestWorkerStepOutlivesReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done, ended atomic.Int32
		w := &Task[int]{
			Run: func(ctx context.Context, _ int) func() {
				select {
				case <-ctx.Done():
					ended.Add(1)
				case <-time.After(time.Second):
					done.Add(1)
				}
				return nil
			},
			Interval: func(int) time.Duration { return time.Millisecond },
		}
		w.Start(0)
		for i := range 50 {
			pass(100 * time.Millisecond)
			w.Start(i + 1)
			w.Stop(i)
		}
		if done.Load() < 4 {
			t.Errorf("%d steps were finished in 5 s of reloads, want at least 4", done.Load())
		}
		if ended.Load() > 0 {
			t.Error("a reload interrupted a step")
		}
		w.Stop(50)
		if ended.Load() != 1 {
			t.Error("Stop did not end the step that was running")
		}
	})
}

// What follows a step may stop the worker, as an event handler that reloads.
func TestWorkerStoppedFromWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		count := 0
		var w *Task[int]
		w = &Task[int]{
			Run: func(context.Context, int) func() {
				count++
				return func() { w.Stop(1) }
			},
			Interval: func(int) time.Duration { return time.Second },
		}
		w.Start(1)
		pass(time.Minute)
		if count != 1 {
			t.Errorf("%d steps, want 1", count)
		}
	})
}

// pass lets virtual time pass, and what is due be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// The last user waits for its own step to end, not for that of one who comes
// meanwhile.
func TestWorkerStopsBesideAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Task[string]{
			Run: func(ctx context.Context, _ string) func() {
				<-ctx.Done()
				time.Sleep(time.Second) // until it has noticed
				return nil
			},
			Interval: func(string) time.Duration { return time.Millisecond },
		}
		w.Start("a")
		synctest.Wait()
		var stopped atomic.Bool
		go func() {
			w.Stop("a")
			stopped.Store(true)
		}()
		synctest.Wait()
		w.Start("b")
		time.Sleep(2 * time.Minute) // b is in its first step by now
		if !stopped.Load() {
			t.Error("a waits for the step of b")
		}
		w.Stop("b")
	})
}
