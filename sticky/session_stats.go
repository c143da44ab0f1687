// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"slices"
	"sync"
	"sync/atomic"
)

// sessionStats counts the outcomes of the requests with sessions of one scope and, with
// rebalance, the sessions of each backend. It outlives the configuration. It is safe for
// concurrent use.
type sessionStats struct {
	outcomes  [outcomes]atomic.Uint64
	windowEnd atomic.Int64 // end of the window, in ns since 1970; 0 before the first
	plan      atomic.Pointer[rebalancePlan]

	all       sessionCount // of all backends
	mu        sync.Mutex   // guards the fields below, and the fields of all sessionCounts that are not atomic
	byBackend map[ID]*sessionCount
}

// sessionStatsKey is the key of a shared sessionStats.
type sessionStatsKey struct {
	scope scope
	kind  string
	ratio float64
}

func newSessionStats() *sessionStats { return &sessionStats{byBackend: make(map[ID]*sessionCount)} }

// sessionCount is the session count of one backend. The lock of the sessionStats guards the
// fields that are not atomic.
type sessionCount struct {
	recentlyUsed atomic.Pointer[usedSessions] // nil until a session was used
	quota        atomic.Int64                 // sessions that may still move in this window

	overloadDetector
	count  float64 // in the last window
	recent float64 // in the minute before this one
}

// usedSessions are the recently used sessions.
type usedSessions struct {
	hyperLogLog                  // in this window
	minuteRegisters hllRegisters // in the ended windows of this minute
	windows         int          // number of these windows
}

// observe counts a session as in use.
func (o *sessionCount) observe(k Key) {
	s := o.recentlyUsed.Load()
	if s == nil {
		s = new(usedSessions)
		if !o.recentlyUsed.CompareAndSwap(nil, s) {
			s = o.recentlyUsed.Load()
		}
	}
	s.add(k)
}

// windowsPerMinute is the number of windows in a minute.
const windowsPerMinute = 6

// endWindow ends the window.
func (o *sessionCount) endWindow() {
	s := o.recentlyUsed.Load()
	if s == nil {
		return
	}
	var t hllRegisters
	t.add(&s.hyperLogLog)
	o.count = t.count()
	if s.windows == windowsPerMinute {
		o.recent, s.minuteRegisters, s.windows = s.minuteRegisters.count(), hllRegisters{}, 0
	}
	s.minuteRegisters.merge(&t)
	s.windows++
}

// usedPerMinute returns the number of sessions used in the last minute, or slightly more.
func (o *sessionCount) usedPerMinute() float64 {
	if s := o.recentlyUsed.Load(); s != nil {
		return max(o.recent, s.minuteRegisters.count())
	}
	return 0
}

// coverage returns the share of a minute's sessions that are used in one window, and 0 before
// the first full minute.
func (o *sessionCount) coverage() float64 {
	if o.recent == 0 {
		return 0
	}
	return min(o.count/o.usedPerMinute(), 1)
}

// observe counts a session of a backend as in use.
func (l *sessionStats) observe(o *sessionCount, k Key) {
	o.observe(k)
	l.all.observe(k)
}

// rebalancePlan lists the backends to which sessions may move in a window. It is read-only.
type rebalancePlan struct {
	deficits []deficit
}

// deficit is the number of sessions that a backend lacks to its fair share.
type deficit struct {
	to         ID
	cumulative float64 // sum of the deficits up to this one
}

// target returns the backend to which a session should move. It is the same for all requests of
// the session, so that concurrent requests go to one backend.
func (m *rebalancePlan) target(k Key) (ID, bool) {
	if m == nil || len(m.deficits) == 0 {
		return 0, false
	}
	draw := float64(mix(uint64(k))>>11) / (1 << 53) * m.deficits[len(m.deficits)-1].cumulative
	i, _ := slices.BinarySearchFunc(m.deficits, draw, func(r deficit, draw float64) int {
		if r.cumulative <= draw {
			return -1
		}
		return 1
	})
	return m.deficits[min(i, len(m.deficits)-1)].to, true
}

// sessionsOf returns the session count of a backend.
func (l *sessionStats) sessionsOf(id ID) *sessionCount {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.byBackend[id]
	if o == nil {
		o = new(sessionCount)
		l.byBackend[id] = o
	}
	return o
}

// windowEnded reports whether a window has ended. It returns true to one caller only.
func (l *sessionStats) windowEnded(now int64) bool {
	ends := l.windowEnd.Load()
	return now >= ends && l.windowEnd.CompareAndSwap(ends, now+int64(window)) && ends != 0
}

// passed returns the part of the window that has passed.
func (l *sessionStats) passed(now int64) float64 {
	return 1 - float64(l.windowEnd.Load()-now)/float64(window)
}

// endWindow ends a window. shares is the fair share of the sessions of each backend that takes
// new ones. ratio is the multiple of the fair share above which sessions move, or 0 for never.
// Backends that are no members and have had no sessions are removed.
func (l *sessionStats) endWindow(shares map[ID]float64, ratio float64, isMember func(ID) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0.0
	l.all.endWindow()
	for id, o := range l.byBackend {
		o.endWindow()
		if _, takes := shares[id]; takes {
			total += o.count
		}
	}
	m, sum := new(rebalancePlan), 0.0
	for id, o := range l.byBackend {
		share, takes := shares[id]
		if !takes || ratio == 0 {
			o.reset()
			o.quota.Store(0)
			if !isMember(id) && o.usedPerMinute() == 0 {
				delete(l.byBackend, id)
			}
			continue
		}
		fair := total * share
		o.quota.Store(o.update(o.count, fair, ratio, l.all.coverage()))
		if short := fair - o.count; short > 0 {
			sum += short
			m.deficits = append(m.deficits, deficit{id, sum})
		}
	}
	l.plan.Store(m)
}
