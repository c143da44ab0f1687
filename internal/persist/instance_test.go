// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"os"
	"slices"
	"testing"
)

// Processes with one data directory each find their own again, in whatever order they
// are started, and never have that of one that runs.
func TestInstanceLocks(t *testing.T) {
	dir := t.TempDir()
	take := func(as string, create bool, want int, duplicates ...int) instanceLock {
		t.Helper()
		s, got, err := acquireInstance(dir, as, create)
		if err != nil || s.n != want || !slices.Equal(got, duplicates) {
			t.Errorf("%s is %d beside %v, %v; want %d beside %v", as, s.n, got, err, want, duplicates)
		}
		return s
	}
	if s := take("a", false, 1); s.lock != nil {
		t.Error("a lock was made of what is validated")
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("%v was made of what is validated", entries)
	}
	a := take("a", true, 1)
	take("b", false, 2)
	b := take("b", true, 2)
	again := take("a", true, 3, 1) // while the first runs
	a.lock.Close()
	after := take("a", true, 1, 3) // it was restarted
	b.lock.Close()
	after.lock.Close()
	again.lock.Close()
	b = take("b", false, 2) // first
	a = take("a", false, 1)
	c := take("c", true, 3) // a stranger has what is left
	take("d", true, 4)
	for _, s := range []instanceLock{a, b, c} {
		s.lock.Close()
	}
	take("deployed elsewhere", true, 1)
}
