// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

const (
	// usedFor is for how long a session counts as in use after a request.
	usedFor = time.Minute
	// usageWindow is for how long sessions are counted together.
	usageWindow = 20 * time.Second
	// usageWindows is how many windows hold a minute: three that have ended, and
	// the one that is running.
	usageWindows = int64(usedFor/usageWindow) + 1
	// usageKept is for how long a backend that is no member is remembered.
	usageKept = 10 * time.Minute
)

// usage counts the sessions of a scope that were used in the last minute, by
// backend. It outlives the configuration. Safe for concurrent use.
type usage struct {
	began time.Duration // as of backend.Now: what was used before is not known

	mu sync.Mutex // guards what follows
	of map[ID]*recentSessions
}

// usageKey is the key under which a usage is leased.
type usageKey struct {
	scope scope
	kind  string
}

func newUsage() *usage {
	return &usage{began: clock.Now(), of: make(map[ID]*recentSessions)}
}

// complete reports whether a whole minute was seen.
func (u *usage) complete(now time.Duration) bool { return now-u.began >= usedFor }

// sessions returns the sessions of a backend, for a member of a roster.
func (u *usage) sessions(id ID, now time.Duration) *recentSessions {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.of[id]
	if s == nil {
		s = new(recentSessions)
		u.of[id] = s
	}
	s.listed = now
	return s
}

// count returns how many sessions of a backend were used in the last minute.
func (u *usage) count(id ID, now time.Duration) int {
	u.mu.Lock()
	s := u.of[id]
	u.mu.Unlock()
	if s == nil {
		return 0
	}
	return s.count(now)
}

// forget forgets backends that are no members and have had no sessions for a while.
// Rosters are made one after the other: one that was listed lately may be a member
// of the next.
func (u *usage) forget(now time.Duration, isMember func(ID) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, s := range u.of {
		if !isMember(id) && now-s.listed > usageKept && s.count(now) == 0 {
			delete(u.of, id)
		}
	}
}

// recentSessions are the sessions of one backend that were used of late. Windows end
// by the clock, so that the count falls without requests. The zero value has none.
// Safe for concurrent use.
type recentSessions struct {
	last    atomic.Int64 // when one was used, as of backend.Now, to within a second
	windows [usageWindows]atomic.Pointer[sessionWindow]

	listed time.Duration // as a member; guarded by the usage
}

// sessionWindow are the sessions that were used in one window.
type sessionWindow struct {
	number int64 // since the clock began
	hyperLogLog
}

// add counts a session that is in use.
func (s *recentSessions) add(k Key, now time.Duration) {
	if int64(now)-s.last.Load() >= int64(time.Second) {
		s.last.Store(int64(now))
	}
	number := int64(now / usageWindow)
	place := &s.windows[number%usageWindows]
	w := place.Load()
	for w == nil || w.number < number {
		place.CompareAndSwap(w, &sessionWindow{number: number})
		w = place.Load()
	}
	w.add(k)
}

// count returns how many were used in the last minute, and up to one window more. It
// is zero only if none was used in the last minute.
func (s *recentSessions) count(now time.Duration) int {
	last := s.last.Load()
	if last == 0 || int64(now)-last >= int64(usedFor+time.Second) {
		return 0
	}
	var all hllRegisters
	first := int64(now/usageWindow) - usageWindows + 1
	for i := range s.windows {
		if w := s.windows[i].Load(); w != nil && w.number >= first {
			all.read(&w.hyperLogLog)
		}
	}
	return max(1, int(all.count()+0.5))
}
