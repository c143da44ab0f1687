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
	i, ok := s.session(k, now, r)
	s.sweep(now, r, perCall)
	if !ok {
		s.misses++
		return Binding{}, false
	}
	s.hits++
	return s.at(i).binding(), true
}

// bind binds a session unless it is bound, and reports whether it did. millis is the time for the
// version of the binding, which is later than that of a forgotten one.
func (t *table) bind(k Key, b Binding, millis int64, now int64, r *rules) (winner record, bound bool) {
	s, most := t.shard(k, r)
	defer s.mu.Unlock()
	winner = record{b, firstVersion(millis)}
	if i, ok := s.find(k, now, r); ok {
		e := s.at(i)
		if !s.isForgotten(i) {
			return e.record(), false
		}
		winner.version = nextVersion(e.version, millis)
		s.remove(i)
	}
	s.sweep(now, r, perCall)
	s.evict(most)
	s.add(k, winner)
	return winner, true
}

// touch records the use of a session. It returns the session, and whether it has changed.
func (t *table) touch(k Key, seen int64, now int64, r *rules) (touched record, changed bool) {
	s, _ := t.shard(k, r)
	defer s.mu.Unlock()
	i, ok := s.session(k, now, r)
	if !ok {
		return touched, false
	}
	e := s.at(i)
	changed = seconds(seen) > e.seen
	e.seen = max(e.seen, seconds(seen))
	s.unlink(i)
	s.link(i)
	return e.record(), changed
}

// move binds a session to another backend if it is still bound to from or does not exist, and reports whether it
// did. millis is the time for the version of the new binding.
func (t *table) move(k Key, from ID, to Binding, millis int64, now int64, r *rules) (winner record, moved bool) {
	s, most := t.shard(k, r)
	defer s.mu.Unlock()
	was := uint64(0)
	if i, ok := s.find(k, now, r); ok {
		if e := s.at(i); e.backend != from && !s.isForgotten(i) {
			return e.record(), false
		}
		was = s.at(i).version
		s.remove(i)
	}
	s.evict(most)
	winner = record{to, nextVersion(was, millis)}
	s.add(k, winner)
	return winner, true
}

// merge merges the session of another instance if it wins over the session in the table, and reports whether it
// did.
func (t *table) merge(k Key, b record, now int64, r *rules) (changed bool) {
	if alive, _ := r.Alive(b.Binding, now); !alive {
		return false
	}
	s, most := t.shard(k, r)
	defer s.mu.Unlock()
	if i, ok := s.find(k, now, r); ok {
		e := s.at(i)
		if b.compare(e.record()) <= 0 || s.isForgotten(i) && b.version == e.version {
			return false
		}
		s.remove(i)
	} else {
		s.sweep(now, r, perCall)
		s.evict(most)
	}
	s.insert(k, b, now, r.life())
	return true
}

// take removes and returns a session.
func (t *table) take(k Key, now int64, r *rules) (b record, ok bool) {
	s, _ := t.shard(k, r)
	defer s.mu.Unlock()
	i, ok := s.session(k, now, r)
	if ok {
		b = s.at(i).record()
		s.remove(i)
	}
	return b, ok
}

// keyedRecord is a session with its key.
type keyedRecord struct {
	key Key
	record
}

// each calls yield with every live session, until it returns false. No lock is held meanwhile, so
// sessions that change may be left out, or come twice.
func (t *table) each(now int64, r *rules, yield func(Key, record) bool) {
	page := make([]keyedRecord, 0, batch)
	for n := range t.shards {
		for from, more := int32(0), true; more; from += batch {
			page, more = t.shards[n].page(now, r, from, page[:0])
			for _, e := range page {
				if !yield(e.key, e.record) {
					return
				}
			}
		}
	}
}

// batch is the maximum number of sessions that are visited while a lock is held.
const batch = 256

// forget ends all sessions that are bound to a backend. If keep is set, their versions are kept, so that no old
// record, of another instance or of the store, brings them back.
func (t *table) forget(backend ID, keep bool) {
	for n := range t.shards {
		s := &t.shards[n]
		for from, more := int32(0), true; more; from += batch {
			more = s.forget(backend, keep, from)
		}
	}
}

// expire ends all sessions that have been idle for too long. The cost is proportional to their
// number or, while sessions of other instances have mixed up the order, once a second to that of all
// sessions.
func (t *table) expire(now int64, r *rules) {
	for n := range t.shards {
		s := &t.shards[n]
		for s.expire(now, r) {
		}
		for from, more := int32(0), s.mixed(now); more; from += batch {
			more = s.scan(now, r, from)
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
		sum.entries += len(s.index) - len(s.forgotten)
		sum.hits += s.hits
		sum.misses += s.misses
		sum.evictions += s.evictions
		sum.expiries += s.expiries
		s.mu.Unlock()
	}
	return sum
}
