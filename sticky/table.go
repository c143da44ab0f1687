// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"math/bits"
	"math/rand/v2"
)

// table is an in-memory session table. The cost of an operation does not depend on the number
// of sessions, except for forget, which holds each lock only for one batch, and counts. It is
// safe for concurrent use.
type table struct {
	shards []shard
	mix    uint64 // odd and random, so that no client can choose ids that all fall into one shard
}

// tableShards is the number of shards of a table. Each has a lock and its share of the maximum.
const tableShards = 64

// rules are the limits that a configuration sets for a table. Several configurations, each with
// its own rules, may share a table.
type rules struct {
	Lifetimes
	max int // maximum number of sessions, at least one for each shard
}

// tableCounters are the counters of a table or of a shard.
type tableCounters struct {
	entries                           int
	hits, misses, evictions, expiries uint64
}

func newTable(shards int) *table {
	t := &table{shards: make([]shard, shards), mix: rand.Uint64() | 1}
	for i := range t.shards {
		t.shards[i].init()
	}
	return t
}

// shard returns the locked shard of a key, and the maximum number of its sessions.
func (t *table) shard(k Key, r *rules) (s *shard, most int) {
	n := len(t.shards)
	high, _ := bits.Mul64(uint64(k)*t.mix, uint64(n))
	i := int(high)
	most = r.max / n
	if i < r.max%n {
		most++
	}
	s = &t.shards[i]
	s.mu.Lock()
	return s, most
}

// get returns the binding of a live session.
func (t *table) get(k Key, now int64, r *rules) (Binding, bool) {
	s, _ := t.shard(k, r)
	defer s.mu.Unlock()
	i, ok := s.find(k, now, r)
	s.sweep(now, r, perCall)
	if !ok {
		s.misses++
		return Binding{}, false
	}
	s.hits++
	return s.at(i).binding(), true
}

// bind binds a session unless it is bound.
func (t *table) bind(k Key, b Binding, now int64, r *rules) (winner Binding) {
	s, most := t.shard(k, r)
	defer s.mu.Unlock()
	if i, ok := s.find(k, now, r); ok {
		return s.at(i).binding()
	}
	s.sweep(now, r, perCall)
	s.evict(most)
	s.add(k, b)
	return b
}

// touch records the use of a session.
func (t *table) touch(k Key, seen int64, now int64, r *rules) {
	s, _ := t.shard(k, r)
	defer s.mu.Unlock()
	if i, ok := s.find(k, now, r); ok {
		e := s.at(i)
		e.seen = max(e.seen, seconds(seen))
		s.unlink(i)
		s.link(i)
	}
}

// move binds a session to another backend if it is still bound to from, or gone.
func (t *table) move(k Key, from ID, to Binding, now int64, r *rules) (winner Binding) {
	s, most := t.shard(k, r)
	defer s.mu.Unlock()
	if i, ok := s.find(k, now, r); ok {
		if b := s.at(i).binding(); b.Backend != from {
			return b
		}
		s.remove(i)
	}
	s.evict(most)
	s.add(k, to)
	return to
}

// batch is the maximum number of sessions that are visited while a lock is held.
const batch = 256

// forget ends all sessions that are bound to a backend.
func (t *table) forget(backend ID) {
	for n := range t.shards {
		s := &t.shards[n]
		for from, more := int32(0), true; more; from += batch {
			more = s.forget(backend, from)
		}
	}
}

// expire ends all sessions that have been idle for too long. The cost is proportional to their
// number.
func (t *table) expire(now int64, r *rules) {
	for n := range t.shards {
		for t.shards[n].expire(now, r) {
		}
	}
}

// counts returns the number of sessions of each backend. It may include sessions that have just
// expired.
func (t *table) counts() map[ID]int {
	all := make(map[ID]int)
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for id, n := range s.backends {
			all[id] += int(n)
		}
		s.mu.Unlock()
	}
	return all
}

// count returns the number of sessions of one backend.
func (t *table) count(backend ID) (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += int(s.backends[backend])
		s.mu.Unlock()
	}
	return n
}

// counters returns the sum of the counters of all shards.
func (t *table) counters() (sum tableCounters) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		sum.entries += len(s.index)
		sum.hits += s.hits
		sum.misses += s.misses
		sum.evictions += s.evictions
		sum.expiries += s.expiries
		s.mu.Unlock()
	}
	return sum
}
