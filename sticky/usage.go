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
	// usedFor is how long a session counts as in use after a request.
	usedFor = time.Minute
	// usageWindow is the length of a counting window.
	usageWindow = 20 * time.Second
	// usageWindows is the number of windows that cover a minute: three ended ones, and the
	// current one.
	usageWindows = int64(usedFor/usageWindow) + 1
	// usageKept is how long a backend that is no member is kept.
	usageKept = 10 * time.Minute
)

// usage counts the sessions of a scope that were used in the last minute, by backend. It
// outlives the configuration. It is safe for concurrent use.
type usage struct {
	began time.Duration // as of clock.Now; earlier uses are unknown

	mu        sync.Mutex // guards the fields below
	byBackend map[ID]*recentSessions
}

// usageKey is the key of a shared usage.
type usageKey struct {
	scope scope
	kind  string
}

func newUsage() *usage {
	return &usage{began: clock.Now(), byBackend: make(map[ID]*recentSessions)}
}

// complete reports whether a full minute was observed.
func (u *usage) complete(now time.Duration) bool { return now-u.began >= usedFor }

// sessions returns the sessions of a backend, for a member of a memberIndex.
func (u *usage) sessions(id ID, now time.Duration) *recentSessions {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.byBackend[id]
	if s == nil {
		s = new(recentSessions)
		u.byBackend[id] = s
	}
	s.listed = now
	return s
}

// count returns the number of sessions of a backend that were used in the last minute.
func (u *usage) count(id ID, now time.Duration) int {
	u.mu.Lock()
	s := u.byBackend[id]
	u.mu.Unlock()
	if s == nil {
		return 0
	}
	return s.count(now)
}

// forget removes backends that are no members and have had no sessions for a while. A backend
// that was listed recently stays: it may be a member of a memberIndex that is still being built.
func (u *usage) forget(now time.Duration, isMember func(ID) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, s := range u.byBackend {
		if !isMember(id) && now-s.listed > usageKept && s.count(now) == 0 {
			delete(u.byBackend, id)
		}
	}
}

// recentSessions are the recently used sessions of one backend. Windows end by the clock, so
// that the count falls without requests. The zero value is empty. It is safe for concurrent
// use.
type recentSessions struct {
	last    atomic.Int64 // time of the last use, as of clock.Now, to within a second
	windows [usageWindows]atomic.Pointer[sessionWindow]

	listed time.Duration // time of the last listing as a member; guarded by the usage
}

// sessionWindow are the sessions used in one window.
type sessionWindow struct {
	number int64 // counted from the start of the clock
	hyperLogLog
}

// add counts a session as in use.
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

// count returns the number of sessions used in the last minute, and up to one window more. It
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
