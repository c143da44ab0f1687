// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package outgoing holds the records that an instance of a fleet will push to the store: changes,
// and records that the store lacks.
package outgoing

import (
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

// maxPending bounds the pending changes. Beyond it all are dropped; a resync then finds them in the topics.
const maxPending = 100_000

// RecordID identifies a record.
type RecordID struct{ topic, key string }

// IDOf returns the identity of a record.
func IDOf(r *record.Record) RecordID { return RecordID{r.Topic, r.Key} }

// change is a record that is waiting to be pushed.
type change struct {
	version uint64
	value   []byte
	since   time.Time
	expires time.Time
}

// Changes are changed records, by identity.
type Changes map[RecordID]change

// Pending holds the changes that are waiting to be pushed, the latest of each key. Safe for concurrent use.
type Pending struct {
	mu        sync.Mutex // guards the fields below
	waiting   Changes
	oldest    time.Time // when the oldest of waiting was published; zero for none
	pushing   int       // number of changes that are being pushed
	since     time.Time // when the oldest of those was published; zero for none
	skip      bool      // drop changes, since a resync is due and finds all of them
	overflows uint64
}

// Add adds a change. first reports that no other change was waiting, and overflow that all were
// dropped because there were too many, so that a resync is needed.
func (q *Pending) Add(r *record.Record) (first, overflow bool) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.skip {
		return false, false
	}
	if len(q.waiting) >= maxPending {
		q.overflows++
		q.drop()
		return false, true
	}
	first = len(q.waiting) == 0
	q.put(IDOf(r), change{r.Version, r.Value, now, now.Add(r.TTL)})
	return first, false
}

// put adds a change unless a later one of its key is waiting. The caller must hold the lock.
func (q *Pending) put(key RecordID, c change) {
	if q.waiting == nil {
		q.waiting = make(Changes)
	}
	if other, ok := q.waiting[key]; ok {
		was, is := record.Record{Version: other.version, Value: other.value}, record.Record{Version: c.version, Value: c.value}
		order := is.Compare(&was)
		if order < 0 || order == 0 && c.expires.Before(other.expires) {
			return
		}
		c.since = other.since
	}
	q.waiting[key] = c
	if q.oldest.IsZero() || c.since.Before(q.oldest) {
		q.oldest = c.since
	}
}

// drop drops all changes, and further ones until Accept. The caller must hold the lock.
func (q *Pending) drop() { q.waiting, q.skip, q.oldest = nil, true, time.Time{} }

// Clear drops all changes, and further ones until Accept. A resync must follow, which finds them in the topics.
func (q *Pending) Clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop()
}

// Accept ends the effect of Clear, and of too many changes: from now on Add keeps changes.
func (q *Pending) Accept() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.skip = false
}

// Take removes and returns all changes, to push them. The caller must call Done afterwards.
func (q *Pending) Take() Changes {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.waiting
	q.pushing, q.since = len(taken), q.oldest
	q.waiting, q.oldest = nil, time.Time{}
	return taken
}

// Done ends the push of the changes that Take returned, and puts back those that were not pushed.
func (q *Pending) Done(left Changes) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pushing, q.since = 0, time.Time{}
	if q.skip {
		return
	}
	for key, c := range left {
		q.put(key, c)
	}
}

// Empty reports whether no change is waiting.
func (q *Pending) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0
}

// Backlog describes the changes of a [Pending].
type Backlog struct {
	// Changes is the number of changes that are waiting or being pushed.
	Changes int
	// Oldest is when the oldest of them was published; zero for none.
	Oldest time.Time
	// Overflows counts how often there were too many.
	Overflows uint64
}

// Backlog returns the number and the age of the changes.
func (q *Pending) Backlog() Backlog {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Backlog{len(q.waiting) + q.pushing, q.oldest, q.overflows}
	if s.Oldest.IsZero() || !q.since.IsZero() && q.since.Before(s.Oldest) {
		s.Oldest = q.since
	}
	return s
}

// Records returns the changed records that have not expired.
func (all Changes) Records() []record.Record {
	now := time.Now()
	records := make([]record.Record, 0, len(all))
	for key, c := range all {
		if ttl := c.expires.Sub(now); ttl > 0 {
			records = append(records, record.Record{Topic: key.topic, Key: key.key, Version: c.version, Value: c.value, TTL: ttl})
		}
	}
	return records
}
