// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"slices"
	"sync"
)

// Generations orders the configurations that use one value. During a reload there are two, and
// the newest is current. When it is removed, because it was rejected or replaced, the one before
// it is current again. The zero value is ready. Safe for concurrent use.
type Generations[T comparable] struct {
	mu    sync.Mutex
	users []T
}

// Push adds a user, which becomes the current one.
func (s *Generations[T]) Push(user T) {
	s.mu.Lock()
	s.users = append(s.users, user)
	s.mu.Unlock()
}

// Remove removes a user at any position, and returns the number of remaining users.
func (s *Generations[T]) Remove(user T) (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.users, user); i >= 0 {
		s.users = slices.Delete(s.users, i, i+1)
	}
	return len(s.users)
}

// Users returns all users, the current one last.
func (s *Generations[T]) Users() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.users)
}

// Current returns the current user; false if there is none.
func (s *Generations[T]) Current() (top T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.users) == 0 {
		return top, false
	}
	return s.users[len(s.users)-1], true
}
