// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

// Backfill pushes what the store lacks after a resync. It remembers a hash of each record that the
// store has, and looks for other records in the topics, again and again until there are none. So
// it needs little memory, and does not push what another instance has pushed meanwhile. Safe for
// concurrent use.
type Backfill struct {
	seed maphash.Seed
	all  func(yield func(record.Record) bool) // the records of all topics

	// After is when to begin: not at once, since others push the same.
	After time.Time

	mu  sync.Mutex // guards has
	has map[uint64]struct{}

	from []record.Record // found and not pushed yet; used by the goroutine that pushes
}

// Bounds of the records that are found at a time.
const (
	maxFound      = 50_000
	maxFoundBytes = 8 << 20
)

// NewBackfill returns a backfill of what all yields, each time that it is called.
func NewBackfill(all func(yield func(record.Record) bool)) *Backfill {
	return &Backfill{seed: maphash.MakeSeed(), all: all, has: make(map[uint64]struct{})}
}

// Stored notes records that the store has.
func (b *Backfill) Stored(records []record.Record) {
	for i := range records {
		hash := records[i].Hash(b.seed, 0)
		b.mu.Lock()
		b.has[hash] = struct{}{}
		b.mu.Unlock()
	}
}

// lacks reports whether the store has had no such record.
func (b *Backfill) lacks(r *record.Record) bool {
	hash := r.Hash(b.seed, 0)
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.has[hash]
	return !ok
}

// Batch returns records that the store lacks, at most one batch, or none if it lacks nothing.
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

// find looks for records in the topics that the store lacks.
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

// Again begins to look from the beginning, since what was found is old.
func (b *Backfill) Again() { b.from = nil }
