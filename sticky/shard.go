// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import "sync"

// shard is a part of a table: its sessions in the order of their last use. They
// hold no pointers, and lie in chunks that never move, so that neither the garbage
// collector nor growth stops anybody. The lock guards all of it.
type shard struct {
	mu             sync.Mutex
	index          map[Key]int32
	chunks         [][]tableEntry
	used           int32 // entries that were ever used
	free           int32 // the first of those that are free; none if negative
	newest, oldest int32 // likewise
	backends       map[ID]int32
	tableCounters
}

// tableEntry is a session, of 32 bytes. While it is free, only older counts.
type tableEntry struct {
	key          Key
	backend      ID
	issued, seen uint32
	newer, older int32 // negative for none
}

const (
	none      = -1
	chunkSize = batch
)

func (s *shard) init() {
	s.index, s.backends = make(map[Key]int32), make(map[ID]int32)
	s.free, s.newest, s.oldest = none, none, none
}

func (s *shard) at(i int32) *tableEntry { return &s.chunks[i/chunkSize][i%chunkSize] }

func (e *tableEntry) binding() Binding {
	return Binding{Backend: e.backend, Issued: int64(e.issued), Seen: int64(e.seen)}
}

// find returns where a session is that lives. One that does not is removed.
func (s *shard) find(k Key, now int64, r *rules) (i int32, ok bool) {
	if i, ok = s.index[k]; !ok {
		return none, false
	}
	if alive, _ := r.Alive(s.at(i).binding(), now); !alive {
		s.remove(i)
		s.expiries++
		return none, false
	}
	return i, true
}

// add adds a session, as the latest used.
func (s *shard) add(k Key, b Binding) {
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
	*s.at(i) = tableEntry{key: k, backend: b.Backend, issued: seconds(b.Issued), seen: seconds(b.Seen)}
	s.index[k] = i
	s.backends[b.Backend]++
	s.link(i)
}

// remove ends a session.
func (s *shard) remove(i int32) {
	e := s.at(i)
	s.unlink(i)
	delete(s.index, e.key)
	if s.backends[e.backend]--; s.backends[e.backend] == 0 {
		delete(s.backends, e.backend)
	}
	*e = tableEntry{older: s.free, newer: freed}
	s.free = i
}

// freed marks an entry that is free.
const freed = -2

func (s *shard) link(i int32) {
	e := s.at(i)
	e.newer, e.older = none, s.newest
	if s.newest != none {
		s.at(s.newest).newer = i
	} else {
		s.oldest = i
	}
	s.newest = i
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

// perCall is how many sessions a call may remove beside its own: more than it can
// add, so that what is to go does go.
const perCall = 2

// sweep removes sessions that have been idle for too long, at most so many, and
// reports whether there may be more.
func (s *shard) sweep(now int64, r *rules, most int) (more bool) {
	for range most {
		if s.oldest == none {
			return false
		}
		if alive, _ := r.Alive(s.at(s.oldest).binding(), now); alive {
			return false
		}
		s.remove(s.oldest)
		s.expiries++
	}
	return true
}

// expire is sweep of as many as may be while a lock is held.
func (s *shard) expire(now int64, r *rules) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sweep(now, r, batch)
}

// evict makes room for one more, where there may be so many: those go that have
// been idle for longest.
func (s *shard) evict(most int) {
	for range perCall {
		if len(s.index) < most || s.oldest == none {
			return
		}
		s.remove(s.oldest)
		s.evictions++
	}
}

// forget ends the sessions of a backend in the chunk that begins at from, and
// reports whether there are more.
func (s *shard) forget(backend ID, from int32) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backends[backend] == 0 {
		return false
	}
	for i := from; i < min(from+batch, s.used); i++ {
		if e := s.at(i); e.newer != freed && e.backend == backend {
			s.remove(i)
		}
	}
	return from+batch < s.used
}
