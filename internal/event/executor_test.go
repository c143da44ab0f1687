// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// All are told in their order, also behind one that takes long and one that panics,
// and nothing is left running.
func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Executor
		var told []int
		var count atomic.Int32
		for n := range 100 {
			l.Execute(func() {
				count.Add(1)
				if told = append(told, n); n == 3 {
					time.Sleep(time.Hour)
				}
				if n == 5 {
					panic("not ours")
				}
			})
		}
		synctest.Wait()
		if n := count.Load(); n != 4 {
			t.Errorf("%d were told before the one that takes long had ended", n)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if len(told) != 100 || !slices.IsSorted(told) {
			t.Errorf("told %v", told)
		}
	})
}

// Nobody is waited for, however many there are to tell.
func TestLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Executor
		gate, told := make(chan bool), 0
		l.Execute(func() { <-gate })
		synctest.Wait()
		for range 2 * maxQueued {
			l.Execute(func() { told++ })
		}
		close(gate)
		synctest.Wait()
		if told != maxQueued {
			t.Errorf("%d were told, want %d", told, maxQueued)
		}
	})
}
