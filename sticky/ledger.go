// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"slices"
	"sync"
	"sync/atomic"
)

// ledger is what became of the requests of the sessions of one scope and, with
// rebalance, how many sessions each backend has. It outlives the configuration. Safe
// for concurrent use.
type ledger struct {
	outcomes [outcomes]atomic.Uint64
	ends     atomic.Int64 // the window, in ns since 1970; 0 before the first
	moves    atomic.Pointer[moves]

	all occupancy  // of all backends
	mu  sync.Mutex // guards what follows, and all of the occupancies but what is atomic
	of  map[ID]*occupancy
}

// ledgerKey is the key under which a ledger is leased.
type ledgerKey struct {
	scope scope
	kind  string
	ratio float64
}

func newLedger() *ledger { return &ledger{of: make(map[ID]*occupancy)} }

// occupancy is the sessions of one backend. What is not atomic belongs to the ledger.
type occupancy struct {
	seen  atomic.Pointer[seen] // nil until there are any
	quota atomic.Int64         // how many may still move in this window

	standing
	count  float64 // of the latest window
	recent float64 // of the minute before this one
}

// seen are the sessions that were used of late.
type seen struct {
	sketch         // in this window
	minute tallied // in the windows of this minute that have ended
	parts  int     // how many of them there are
}

// see counts a session that is in use.
func (o *occupancy) see(k Key) {
	s := o.seen.Load()
	if s == nil {
		s = new(seen)
		if !o.seen.CompareAndSwap(nil, s) {
			s = o.seen.Load()
		}
	}
	s.add(k)
}

// minuteParts is how many windows make a minute.
const minuteParts = 6

// close ends the window.
func (o *occupancy) close() {
	s := o.seen.Load()
	if s == nil {
		return
	}
	var t tallied
	t.take(&s.sketch)
	o.count = t.count()
	if s.parts == minuteParts {
		o.recent, s.minute, s.parts = s.minute.count(), tallied{}, 0
	}
	s.minute.merge(&t)
	s.parts++
}

// used returns how many sessions were used in the last minute, or some more.
func (o *occupancy) used() float64 {
	if s := o.seen.Load(); s != nil {
		return max(o.recent, s.minute.count())
	}
	return 0
}

// coverage returns which share of the sessions of a minute is used in a window, and 0
// before there was a minute.
func (o *occupancy) coverage() float64 {
	if o.recent == 0 {
		return 0
	}
	return min(o.count/o.used(), 1)
}

// see counts a session of a backend that is in use.
func (l *ledger) see(o *occupancy, k Key) {
	o.see(k)
	l.all.see(k)
}

// moves are where sessions may move in a window. Read-only.
type moves struct {
	room []room
}

// room is how many sessions a backend is short of.
type room struct {
	to    ID
	below float64 // the sum of those before and this one
}

// target returns where a session is to move. It is the same for all of its requests,
// so that those that come at once do not part.
func (m *moves) target(k Key) (ID, bool) {
	if m == nil || len(m.room) == 0 {
		return 0, false
	}
	draw := float64(mix(uint64(k))>>11) / (1 << 53) * m.room[len(m.room)-1].below
	i, _ := slices.BinarySearchFunc(m.room, draw, func(r room, draw float64) int {
		if r.below <= draw {
			return -1
		}
		return 1
	})
	return m.room[min(i, len(m.room)-1)].to, true
}

// occupancy returns that of a backend.
func (l *ledger) occupancy(id ID) *occupancy {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.of[id]
	if o == nil {
		o = new(occupancy)
		l.of[id] = o
	}
	return o
}

// due reports whether a window has ended, to one caller.
func (l *ledger) due(now int64) bool {
	ends := l.ends.Load()
	return now >= ends && l.ends.CompareAndSwap(ends, now+int64(window)) && ends != 0
}

// passed returns which part of the window has passed.
func (l *ledger) passed(now int64) float64 {
	return 1 - float64(l.ends.Load()-now)/float64(window)
}

// review ends a window. shares says which share of the sessions each backend should
// have that takes new ones; ratio is above which multiple of it sessions move, 0 for
// never. What is known of backends is forgotten that are none of the members and had
// no sessions.
func (l *ledger) review(shares map[ID]float64, ratio float64, isMember func(ID) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0.0
	l.all.close()
	for id, o := range l.of {
		o.close()
		if _, takes := shares[id]; takes {
			total += o.count
		}
	}
	m, sum := new(moves), 0.0
	for id, o := range l.of {
		share, takes := shares[id]
		if !takes || ratio == 0 {
			o.forget()
			o.quota.Store(0)
			if !isMember(id) && o.used() == 0 {
				delete(l.of, id)
			}
			continue
		}
		fair := total * share
		o.quota.Store(o.note(o.count, fair, ratio, l.all.coverage()))
		if short := fair - o.count; short > 0 {
			sum += short
			m.room = append(m.room, room{id, sum})
		}
	}
	l.moves.Store(m)
}
