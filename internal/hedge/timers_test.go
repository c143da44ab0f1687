// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Waits that begin and end at random are listed by when they are due, and only as long as they last.
func TestTimersAreOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		var q Timers
		stopped := &Race{stopped: true} // a wait that is due does nothing
		var listed []*wait              // in the order in which they began
		for range 2000 {
			if n := len(listed); n > 0 && random.IntN(2) == 0 {
				i := random.IntN(n)
				q.stop(listed[i])
				q.stop(listed[i]) // nothing is left to do
				listed = slices.Delete(listed, i, i+1)
			} else {
				w := &wait{race: stopped}
				q.start(w, time.Duration(1+random.IntN(5))*time.Second)
				listed = append(listed, w)
			}
			if random.IntN(10) == 0 {
				time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
				synctest.Wait()
				listed = slices.DeleteFunc(listed, func(w *wait) bool { return !w.listed })
			}
			want := slices.Clone(listed)
			slices.SortStableFunc(want, func(a, b *wait) int { return int(a.due - b.due) })
			var forward, backward []*wait
			for w := q.first; w != nil; w = w.next {
				forward = append(forward, w)
			}
			for w := q.last; w != nil; w = w.previous {
				backward = append(backward, w)
			}
			slices.Reverse(backward)
			if !slices.Equal(forward, want) || !slices.Equal(backward, want) {
				t.Fatalf("%d waits are listed forward and %d backward, want %d by due", len(forward), len(backward), len(want))
			}
		}
		for _, w := range listed {
			q.stop(w)
		}
		time.Sleep(5 * time.Second) // the timer fires for the last time
		synctest.Wait()
		if q.first != nil || q.last != nil || q.at != 0 {
			t.Error("waits or a timer remain")
		}
	})
}
