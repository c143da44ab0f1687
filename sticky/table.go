// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"math/bits"
	"math/rand/v2"
)

// table holds sessions in memory. No operation takes time in proportion to how
// many there are, but forget and counts, which hold no lock for long. Safe for
// concurrent use.
type table struct {
	shards []shard
	mix    uint64 // odd: nobody can choose ids that all fall into one shard
}

// tableShards is how many parts a table has, each with a lock and a share of what
// it may hold.
const tableShards = 64

// rules are what a configuration wants of a table. Several configurations may use
// one, each with rules of its own.
type rules struct {
	Lifetimes
	max int // sessions, at least one for each shard
}

// tableCounters counts what has happened to the sessions of a table.
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

// shard returns the shard of a key, locked, and how many sessions it may hold.
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

// get returns the binding of a session that lives.
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

// touch notes that a session was used.
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

// batch is how many sessions are looked at while a lock is held.
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

// expire ends all sessions that have been idle for too long. What it costs is in
// proportion to those.
func (t *table) expire(now int64, r *rules) {
	for n := range t.shards {
		for t.shards[n].expire(now, r) {
		}
	}
}

// counts returns how many sessions each backend has, those apart that have just
// ended.
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

// count is counts of one backend.
func (t *table) count(backend ID) (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += int(s.backends[backend])
		s.mu.Unlock()
	}
	return n
}

// counters returns what has happened.
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
