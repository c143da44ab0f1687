// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import "sync"

// shard is a part of a table, with its sessions in order of their last use. Entries hold no
// pointers, and are in chunks that never move, so that neither garbage collection nor growth
// causes a pause. The lock guards all fields.
type shard struct {
	mu             sync.Mutex
	index          map[Key]int32
	chunks         [][]tableEntry
	used           int32 // entries that were ever used
	free           int32 // first free entry; negative: none
	newest, oldest int32 // entries; negative: none
	backends       map[ID]int32
	// forgotten are the entries of sessions that have ended, and whose version outlives them: a record of
	// another instance must be later to begin the session again.
	forgotten  map[int32]struct{}
	mixedUntil int64 // until when expired sessions may be anywhere in the order
	scanned    int64 // when all sessions were last looked at
	tableCounters
}

// tableEntry is a session, of 40 bytes. In a free entry, only older is valid: the next free
// entry.
type tableEntry struct {
	key          Key
	backend      ID
	version      uint64
	issued, seen uint32
	newer, older int32 // negative: none
}

const (
	none      = -1
	chunkSize = batch
)

func (s *shard) init() {
	s.index, s.backends, s.forgotten = make(map[Key]int32), make(map[ID]int32), make(map[int32]struct{})
	s.free, s.newest, s.oldest = none, none, none
}

func (s *shard) at(i int32) *tableEntry { return &s.chunks[i/chunkSize][i%chunkSize] }

func (e *tableEntry) binding() Binding {
	return Binding{Backend: e.backend, Issued: int64(e.issued), Seen: int64(e.seen)}
}

func (e *tableEntry) record() record { return record{e.binding(), e.version} }

// isForgotten reports whether a session is forgotten.
func (s *shard) isForgotten(i int32) bool {
	_, ok := s.forgotten[i]
	return ok
}

// find returns the index of a live session. It removes an expired one.
func (s *shard) find(k Key, now int64, r *rules) (i int32, ok bool) {
	if i, ok = s.index[k]; !ok {
		return none, false
	}
	if alive, _ := r.Alive(s.at(i).binding(), now); !alive {
		s.end(i, &s.expiries)
		return none, false
	}
	return i, true
}

// session is find for a session that is not forgotten.
func (s *shard) session(k Key, now int64, r *rules) (i int32, ok bool) {
	i, ok = s.find(k, now, r)
	return i, ok && !s.isForgotten(i)
}

// end removes a session and counts that. A forgotten one has ended before.
func (s *shard) end(i int32, count *uint64) {
	if !s.isForgotten(i) {
		*count++
	}
	s.remove(i)
}

// add adds a session as the most recently used.
func (s *shard) add(k Key, r record) { s.link(s.put(k, r)) }

// put adds a session that is not yet in the order.
func (s *shard) put(k Key, r record) int32 {
	i := s.free
	switch {
	case i != none:
		s.free = s.at(i).older
	case s.used%chunkSize == 0:
		s.chunks = append(s.chunks, make([]tableEntry, chunkSize))
		fallthrough
	default:
		i = s.used
		s.used++
	}
	*s.at(i) = tableEntry{key: k, backend: r.Backend, version: r.version, issued: seconds(r.Issued), seen: seconds(r.Seen)}
	s.index[k] = i
	s.backends[r.Backend]++
	return i
}

// maxWalk bounds the search for the place of a session in the order.
const maxWalk = 16

// insert adds a session of another instance where it belongs by its last use. If that is far from
// the newest, as after a resync, it is placed too high, and expired sessions may be anywhere for as
// long as it can live.
func (s *shard) insert(k Key, r record, now, life int64) {
	i := s.put(k, r)
	older := s.newest
	for n := 0; older != none && s.at(older).seen > s.at(i).seen; n++ {
		if n == maxWalk {
			s.mixedUntil = max(s.mixedUntil, now+life)
			break
		}
		older = s.at(older).older
	}
	s.linkAfter(i, older)
}

// remove ends a session.
func (s *shard) remove(i int32) {
	e := s.at(i)
	s.unlink(i)
	delete(s.index, e.key)
	if s.isForgotten(i) {
		delete(s.forgotten, i)
	} else {
		s.uncount(e.backend)
	}
	*e = tableEntry{older: s.free, newer: freed}
	s.free = i
}

// uncount counts one session less of a backend.
func (s *shard) uncount(backend ID) {
	if s.backends[backend]--; s.backends[backend] == 0 {
		delete(s.backends, backend)
	}
}

// freed marks a free entry.
const freed = -2

func (s *shard) link(i int32) { s.linkAfter(i, s.newest) }

// linkAfter places an entry in the order as the next newer one of older; none for the oldest.
func (s *shard) linkAfter(i, older int32) {
	e, newer := s.at(i), s.oldest
	if older != none {
		newer = s.at(older).newer
		s.at(older).newer = i
	} else {
		s.oldest = i
	}
	e.newer, e.older = newer, older
	if newer != none {
		s.at(newer).older = i
	} else {
		s.newest = i
	}
}

func (s *shard) unlink(i int32) {
	e := s.at(i)
	if e.newer != none {
		s.at(e.newer).older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != none {
		s.at(e.older).newer = e.newer
	} else {
		s.oldest = e.newer
	}
}

// perCall is the number of sessions that a call may remove besides its own: more than it can
// add, so that expired sessions do not accumulate.
const perCall = 2

// sweep removes at most most sessions that have been idle for too long, and reports whether
// there may be more.
func (s *shard) sweep(now int64, r *rules, most int) (more bool) {
	for range most {
		if s.oldest == none {
			return false
		}
		if alive, _ := r.Alive(s.at(s.oldest).binding(), now); alive {
			return false
		}
		s.end(s.oldest, &s.expiries)
	}
	return true
}

// expire sweeps as many sessions as one holding of the lock allows.
func (s *shard) expire(now int64, r *rules) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sweep(now, r, batch)
}

// mixed reports whether all sessions must be looked at to find the expired ones, once a second.
func (s *shard) mixed(now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now >= s.mixedUntil || now <= s.scanned {
		return false
	}
	s.scanned = now
	return true
}

// scan removes the expired sessions of the chunk that begins at from, and reports whether there are
// more chunks.
func (s *shard) scan(now int64, r *rules, from int32) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := from; i < min(from+batch, s.used); i++ {
		if s.at(i).newer == freed {
			continue
		}
		if alive, _ := r.Alive(s.at(i).binding(), now); !alive {
			s.end(i, &s.expiries)
		}
	}
	return from+batch < s.used
}

// page appends the live sessions of the chunk that begins at from to a page, and reports whether
// there are more chunks.
func (s *shard) page(now int64, r *rules, from int32, page []keyedRecord) (_ []keyedRecord, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := from; i < min(from+batch, s.used); i++ {
		e := s.at(i)
		if e.newer == freed || s.isForgotten(i) {
			continue
		}
		if alive, _ := r.Alive(e.binding(), now); alive {
			page = append(page, keyedRecord{e.key, e.record()})
		}
	}
	return page, from+batch < s.used
}

// evict makes room for one session if there are most or more. It removes those that were idle
// for longest.
func (s *shard) evict(most int) {
	for range perCall {
		if len(s.index) < most || s.oldest == none {
			return
		}
		s.end(s.oldest, &s.evictions)
	}
}

// forget ends the sessions of a backend in the chunk that begins at from, and reports whether
// there are more chunks. keep keeps their versions.
func (s *shard) forget(backend ID, keep bool, from int32) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backends[backend] == 0 {
		return false
	}
	for i := from; i < min(from+batch, s.used); i++ {
		e := s.at(i)
		switch {
		case e.newer == freed || e.backend != backend || s.isForgotten(i):
		case keep:
			s.uncount(backend)
			s.forgotten[i] = struct{}{}
		default:
			s.remove(i)
		}
	}
	return from+batch < s.used
}
