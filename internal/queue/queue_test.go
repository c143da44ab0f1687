// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A line is a list: whoever joins and leaves, in whatever order, the others keep
// theirs.
func TestLineIsAList(t *testing.T) {
	var line Line[int]
	var model []*Waiter[int]
	for range 10000 {
		if n := len(model); n == 0 || n < 20 && rand.IntN(2) == 0 {
			w := NewWaiter[int](0)
			line.Join(w)
			model = append(model, w)
		} else {
			i := rand.IntN(n)
			if w := model[i]; !w.Leave() || w.Leave() {
				t.Fatal("leaves other than once")
			}
			model = slices.Delete(model, i, i+1)
		}
		var got []*Waiter[int]
		for w := line.Oldest(); w != nil; w = w.Newer() {
			got = append(got, w)
		}
		if !slices.Equal(got, model) || line.Len() != len(model) {
			t.Fatalf("%d in line, of a length of %d, want %d", len(got), line.Len(), len(model))
		}
		if n := len(model); n > 0 && line.Newest() != model[n-1] || n == 0 && line.Newest() != nil {
			t.Fatal("another is the newest")
		}
	}
}

func TestOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var line Line[string]
		wait := func(ctx context.Context) (string, Outcome, time.Duration) {
			start := time.Now()
			w := NewWaiter[string](0)
			mu.Lock()
			line.Join(w)
			mu.Unlock()
			v, outcome := w.Wait(ctx, time.Second, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return w.Leave()
			})
			return v, outcome, time.Since(start)
		}
		if _, outcome, took := wait(t.Context()); outcome != Expired || took != time.Second {
			t.Errorf("nobody gave anything: %v after %v", outcome, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, outcome, took := wait(ctx); outcome != Left || took != time.Millisecond {
			t.Errorf("the client left: %v after %v", outcome, took)
		}
		go func() {
			time.Sleep(3 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			line.Oldest().Grant("it")
		}()
		if v, outcome, took := wait(t.Context()); v != "it" || outcome != Granted || took != 3*time.Millisecond {
			t.Errorf("given: %q, %v after %v", v, outcome, took)
		}
		if line.Len() != 0 {
			t.Errorf("%d are left in line", line.Len())
		}
	})
}

// What is given at the moment in which a wait ends is not lost.
func TestNothingIsLost(t *testing.T) {
	const rounds = 2000
	var mu sync.Mutex
	for range rounds {
		var line Line[int]
		ctx, cancel := context.WithCancel(t.Context())
		w := NewWaiter[int](0)
		line.Join(w)
		var given bool
		var done sync.WaitGroup
		done.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			if w := line.Oldest(); w != nil {
				given = true
				w.Grant(7)
			}
		})
		done.Go(cancel)
		v, outcome := w.Wait(ctx, time.Hour, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return w.Leave()
		})
		done.Wait()
		if given != (outcome == Granted) || given && v != 7 {
			t.Fatalf("given: %v, got %d, %v", given, v, outcome)
		}
	}
}
