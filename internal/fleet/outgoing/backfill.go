// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

// Backfill finds the records that the store lacks after a resync. It keeps a hash of each record of
// the store, and searches the topics for records whose hash is missing, until there are none. So it
// needs little memory, and skips records that another instance has pushed in the meantime. Stored
// may be called concurrently with the other methods, which only one goroutine may call.
type Backfill struct {
	seed maphash.Seed
	all  func(yield func(record.Record) bool) // the records of all topics

	// After is the time to begin. Instances begin at different times, since they lack the same records.
	After time.Time

	mu  sync.Mutex // guards has
	has map[uint64]struct{}

	from []record.Record // found and not returned yet; used by the goroutine that pushes
}

// Bounds of the records that one search finds.
const (
	maxFound      = 50_000
	maxFoundBytes = 8 << 20
)

// NewBackfill returns a backfill. all yields the records of all topics, and may be called many
// times.
func NewBackfill(all func(yield func(record.Record) bool)) *Backfill {
	return &Backfill{seed: maphash.MakeSeed(), all: all, has: make(map[uint64]struct{})}
}

// Stored adds records that the store has.
func (b *Backfill) Stored(records []record.Record) {
	for i := range records {
		hash := records[i].Hash(b.seed, 0)
		b.mu.Lock()
		b.has[hash] = struct{}{}
		b.mu.Unlock()
	}
}

// lacks reports whether the store lacks the record.
func (b *Backfill) lacks(r *record.Record) bool {
	hash := r.Hash(b.seed, 0)
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.has[hash]
	return !ok
}

// Batch returns up to a batch of records that the store lacks; none if it has all.
func (b *Backfill) Batch() (next []record.Record) {
	for {
		if len(b.from) == 0 {
			if b.find(); len(b.from) == 0 {
				return nil
			}
		}
		record.Batches(b.from, func(some []record.Record) bool {
			b.from = b.from[len(some):]
			for i := range some {
				if b.lacks(&some[i]) {
					next = append(next, some[i])
				}
			}
			return len(next) == 0
		})
		if len(next) > 0 {
			return next
		}
	}
}

// find searches the topics for records that the store lacks.
func (b *Backfill) find() {
	size := 0
	b.from = nil
	b.all(func(r record.Record) bool {
		if b.lacks(&r) {
			b.from = append(b.from, r)
			size += r.Size()
		}
		return len(b.from) < maxFound && size < maxFoundBytes
	})
}

// Again discards the records that were found, after a failed push, so that Batch searches again.
func (b *Backfill) Again() { b.from = nil }
