// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"slices"
	"sync"
	"sync/atomic"
)

// sessionStats is what became of the requests of the sessions of one scope and, with
// rebalance, how many sessions each backend has. It outlives the configuration. Safe
// for concurrent use.
type sessionStats struct {
	outcomes  [outcomes]atomic.Uint64
	windowEnd atomic.Int64 // the window, in ns since 1970; 0 before the first
	plan      atomic.Pointer[rebalancePlan]

	all       sessionCount // of all backends
	mu        sync.Mutex   // guards what follows, and all of the occupancies but what is atomic
	byBackend map[ID]*sessionCount
}

// sessionStatsKey is the key under which a ledger is leased.
type sessionStatsKey struct {
	scope scope
	kind  string
	ratio float64
}

func newSessionStats() *sessionStats { return &sessionStats{byBackend: make(map[ID]*sessionCount)} }

// sessionCount is the sessions of one backend. What is not atomic belongs to the ledger.
type sessionCount struct {
	recentlyUsed atomic.Pointer[usedSessions] // nil until there are any
	quota        atomic.Int64                 // how many may still move in this window

	overloadDetector
	count  float64 // of the latest window
	recent float64 // of the minute before this one
}

// usedSessions are the sessions that were used of late.
type usedSessions struct {
	hyperLogLog                  // in this window
	minuteRegisters hllRegisters // in the windows of this minute that have ended
	windows         int          // how many of them there are
}

// observe counts a session that is in use.
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

// windowsPerMinute is how many windows make a minute.
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

// usedPerMinute returns how many sessions were used in the last minute, or some more.
func (o *sessionCount) usedPerMinute() float64 {
	if s := o.recentlyUsed.Load(); s != nil {
		return max(o.recent, s.minuteRegisters.count())
	}
	return 0
}

// coverage returns which share of the sessions of a minute is used in a window, and 0
// before there was a minute.
func (o *sessionCount) coverage() float64 {
	if o.recent == 0 {
		return 0
	}
	return min(o.count/o.usedPerMinute(), 1)
}

// observe counts a session of a backend that is in use.
func (l *sessionStats) observe(o *sessionCount, k Key) {
	o.observe(k)
	l.all.observe(k)
}

// rebalancePlan are where sessions may move in a window. Read-only.
type rebalancePlan struct {
	deficits []deficit
}

// deficit is how many sessions a backend is short of.
type deficit struct {
	to         ID
	cumulative float64 // the sum of those before and this one
}

// target returns where a session is to move. It is the same for all of its requests,
// so that those that come at once do not part.
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

// sessionsOf returns that of a backend.
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

// windowEnded reports whether a window has ended, to one caller.
func (l *sessionStats) windowEnded(now int64) bool {
	ends := l.windowEnd.Load()
	return now >= ends && l.windowEnd.CompareAndSwap(ends, now+int64(window)) && ends != 0
}

// passed returns which part of the window has passed.
func (l *sessionStats) passed(now int64) float64 {
	return 1 - float64(l.windowEnd.Load()-now)/float64(window)
}

// endWindow ends a window. shares says which share of the sessions each backend should
// have that takes new ones; ratio is above which multiple of it sessions move, 0 for
// never. What is known of backends is forgotten that are none of the members and had
// no sessions.
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
