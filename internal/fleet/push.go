// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/outgoing"
	"github.com/ballast-lb/caddy-ballast/internal/fleet/reach"
	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

const (
	// pushEvery is the least time between two rounds of pushes.
	pushEvery = 20 * time.Millisecond
	// backfillBatches is the maximum number of batches of a backfill in one round.
	backfillBatches = 10
	// never is a wait that only a wake-up ends.
	never = time.Hour
)

// push pushes pending changes and the backfill if they are due, and returns how long to wait before the next
// call.
func (r *run) push() time.Duration {
	backfill, idle := r.currentBackfill(), r.pending.Empty()
	wait, open := r.reach.Wait(reach.Push)
	switch {
	case !open:
		return never // a beat must succeed first
	case idle && backfill == nil:
		r.record(reach.Push, nil) // with nothing to push, an earlier failure is obsolete
		return never
	}
	wait = max(wait, time.Until(r.latestPush.Add(pushEvery)))
	if idle {
		wait = max(wait, time.Until(backfill.After))
	}
	if wait > 0 {
		return wait
	}
	r.latestPush = time.Now()
	if !r.pushPending() {
		return 0
	}
	if backfill != nil && time.Now().After(backfill.After) {
		r.pushBackfill(backfill)
	}
	return pushEvery
}

// pushBatch pushes one batch, and reports whether that succeeded. It first sends a beat if one is due.
func (r *run) pushBatch(batch []Record) bool {
	if r.untilBeat() <= 0 {
		r.beat()
	}
	if _, open := r.reach.Wait(reach.Push); !open || r.ctx.Err() != nil {
		return false
	}
	return r.call(reach.Push, "pushing records of a fleet", func(ctx context.Context) error {
		return r.conn.Push(ctx, r.id, batch)
	}) == nil
}

// pushPending pushes the pending changes, and reports whether all were pushed.
func (r *run) pushPending() bool {
	taken, ok := r.pending.Take(), true
	record.Batches(taken.Records(), func(batch []Record) bool {
		if ok = r.pushBatch(batch); !ok {
			return false
		}
		for i := range batch {
			delete(taken, outgoing.IDOf(&batch[i]))
		}
		r.pushed.Add(uint64(len(batch)))
		return true
	})
	r.pending.Done(taken)
	return ok
}

// pushBackfill pushes some of the records that the store lacks.
func (r *run) pushBackfill(b *outgoing.Backfill) {
	for range backfillBatches {
		batch := b.Batch()
		if len(batch) == 0 {
			r.endBackfill(b)
			return
		}
		if !r.pushBatch(batch) {
			b.Again()
			return
		}
		b.Stored(batch)
		r.pushed.Add(uint64(len(batch)))
	}
}

// currentBackfill returns the backfill under way, or nil.
func (r *run) currentBackfill() *outgoing.Backfill {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backfill
}

// endBackfill ends b, unless a later resync has begun another.
func (r *run) endBackfill(b *outgoing.Backfill) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.backfill == b {
		r.backfill = nil
	}
}
