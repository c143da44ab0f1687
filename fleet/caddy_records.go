// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// Bounds of the records of one instance. If they are exceeded, records are dropped down to nine
// tenths.
const (
	maxOwnRecords = 20_000
	maxOwnBytes   = 8 << 20
)

// sessionTopics is the prefix of the topics whose records are dropped first.
const sessionTopics = "sessions/"

// ownRecords are the records that an instance has pushed. Safe for concurrent use.
type ownRecords struct {
	mu       sync.Mutex
	all      map[ownKey]ownRecord
	bytes    int
	revision uint64 // of the latest write
	dirty    bool   // there are unwritten changes
}

type ownKey struct{ topic, key string }

type ownRecord struct {
	fleet.Record
	expires time.Time
}

// merge merges records, and returns how many records were dropped to stay within the bounds.
func (o *ownRecords) merge(records []fleet.Record) (dropped int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.all == nil {
		o.all = make(map[ownKey]ownRecord)
	}
	for _, r := range records {
		key, next := ownKey{r.Topic, r.Key}, ownRecord{r, now.Add(r.TTL)}
		old, ok := o.all[key]
		if ok && old.expires.After(now) {
			if order := r.Compare(&old.Record); order < 0 || order == 0 && !next.expires.After(old.expires) {
				continue
			}
		}
		if ok {
			o.bytes -= old.Size()
		}
		next.Value = slices.Clone(r.Value)
		o.all[key] = next
		o.bytes += next.Size()
		o.dirty = true
	}
	if len(o.all) > maxOwnRecords || o.bytes > maxOwnBytes {
		dropped = o.drop(now)
	}
	return dropped
}

// drop removes expired records and, if that is not enough, first sessions and then others, in the order in which they
// expire. The caller must hold the lock.
func (o *ownRecords) drop(now time.Time) (dropped int) {
	o.expire(now)
	if len(o.all) <= maxOwnRecords && o.bytes <= maxOwnBytes {
		return 0
	}
	keys := make([]ownKey, 0, len(o.all))
	for key := range o.all {
		keys = append(keys, key)
	}
	kind := func(key ownKey) int {
		if strings.HasPrefix(key.topic, sessionTopics) {
			return 0
		}
		return 1
	}
	slices.SortFunc(keys, func(a, b ownKey) int {
		return cmp.Or(cmp.Compare(kind(a), kind(b)), o.all[a].expires.Compare(o.all[b].expires))
	})
	for _, key := range keys {
		if len(o.all) <= maxOwnRecords/10*9 && o.bytes <= maxOwnBytes/10*9 {
			break
		}
		o.remove(key)
		dropped++
	}
	return dropped
}

func (o *ownRecords) expire(now time.Time) {
	for key, r := range o.all {
		if !r.expires.After(now) {
			o.remove(key)
		}
	}
}

func (o *ownRecords) remove(key ownKey) {
	r := o.all[key]
	o.bytes -= r.Size()
	delete(o.all, key)
}

// living returns the records that have not expired. The caller must hold the lock.
func (o *ownRecords) living(now time.Time) []fleet.Record {
	o.expire(now)
	all := make([]fleet.Record, 0, len(o.all))
	for _, own := range o.all {
		r := own.Record
		r.TTL = own.expires.Sub(now)
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b fleet.Record) int { return strings.Compare(a.Topic, b.Topic) }) // a batch stores a topic once for consecutive records
	return all
}

// records returns the records that have not expired.
func (o *ownRecords) records() []fleet.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.living(time.Now())
}

// begin returns the content of the record file to write, or nil if it is up to date. The caller must call touch if
// the write fails.
func (o *ownRecords) begin() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.dirty {
		return nil
	}
	o.dirty = false
	o.revision++
	now := time.Now()
	return encodeRecords(o.revision, now, o.living(now))
}

// touch marks the records as unwritten.
func (o *ownRecords) touch() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dirty = o.dirty || len(o.all) > 0
}

// unwritten reports whether there are unwritten changes.
func (o *ownRecords) unwritten() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dirty
}

// current returns the revision of the latest write.
func (o *ownRecords) current() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.revision
}
