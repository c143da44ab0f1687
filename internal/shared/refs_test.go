// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"slices"
	"testing"
)

type key struct{ name string }

// A rejected configuration takes a value that the running one has and gives it
// back, twice: the running one keeps it.
func TestRefsReleaseOnlyWhatTheyTook(t *testing.T) {
	made := 0
	construct := func() *int { made++; return new(int) }
	var running, rejected, next Refs
	first := LoadOrNew(&running, key{"a"}, construct)
	if LoadOrNew(&rejected, key{"a"}, construct) != first {
		t.Error("overlapping configurations do not share the value")
	}
	rejected.Release()
	rejected.Release()
	if LoadOrNew(&next, key{"a"}, construct) != first || made != 1 {
		t.Error("a rejected configuration lost the value")
	}
	running.Release()
	next.Release()
	if LoadOrNew(&next, key{"a"}, construct) == first {
		t.Error("the value outlived its last user")
	}
	next.Release()
}

func TestStack(t *testing.T) {
	var s Generations[int]
	if _, ok := s.Current(); ok {
		t.Error("an empty stack has a top")
	}
	s.Push(1)
	s.Push(2)
	if left := s.Remove(7); left != 2 {
		t.Errorf("%d left, want 2", left)
	}
	if top, _ := s.Current(); top != 2 || !slices.Equal(s.Users(), []int{1, 2}) {
		t.Errorf("top %d of %v", top, s.Users())
	}
	s.Remove(2)
	if top, _ := s.Current(); top != 1 {
		t.Errorf("top %d after the newest has gone, want 1", top)
	}
}
