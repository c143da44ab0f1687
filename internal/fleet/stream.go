// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/outgoing"
	"github.com/ballast-lb/caddy-ballast/internal/fleet/reach"
)

const (
	// changesWait is how long a call of Changes waits for a change.
	changesWait = time.Second
	// changesPause is the least time between two calls of Changes that return no change. It bounds the
	// CPU time if a store does not wait.
	changesPause = 10 * time.Millisecond
)

// reads applies the changes of other instances until the run ends.
func (r *run) reads() {
	defer close(r.read)
	r.awaitFirst()
	<-r.opened
	if r.conn == nil {
		return
	}
	var cursor Cursor
	for r.reach.Await(r.ctx, reach.Stream) {
		due, wait := r.resyncs.next()
		if due != "" && wait == 0 {
			cursor = r.resync(cursor)
			continue
		}
		if due == byGap { // Changes would report the gap again
			reach.Sleep(r.ctx, wait)
			continue
		}
		for _, name := range r.takeCopies() {
			r.copyTopics(name)
		}
		began, limit := time.Now(), changesWait
		if due != "" {
			limit = min(wait, changesWait)
		}
		changes, err := r.changes(cursor, limit)
		switch {
		case errors.Is(err, ErrGap):
			r.resyncs.want(byGap)
			if due != "" { // the resync also closes the gap
				reach.Sleep(r.ctx, wait)
			}
		case err == nil:
			cursor = changes.Next
			r.apply(changes)
			if len(changes.Records) == 0 {
				reach.Sleep(r.ctx, changesPause-time.Since(began))
			}
		}
	}
}

// jitter returns a random delay that grows with the number of instances; see spread.
func (r *run) jitter() time.Duration {
	return rand.N(min(time.Duration(r.instances.Load().Len())*spread, maxSpread))
}

// errInterrupted means that interrupt has ended a call of Changes.
var errInterrupted = errors.New("interrupted")

// changes reads the next changes. The error is [ErrGap], errInterrupted, or a failure of the store, which it
// records.
func (r *run) changes(after Cursor, wait time.Duration) (changes Changes, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, wait+r.timeout())
	defer cancel()
	r.mu.Lock()
	if r.stopped {
		r.stopped = false
		r.mu.Unlock()
		return changes, errInterrupted
	}
	r.stop = cancel
	r.mu.Unlock()
	err = reach.Protect("reading the changes of a fleet", func() (err error) {
		changes, err = r.conn.Changes(ctx, after, wait)
		return err
	})
	r.mu.Lock()
	interrupted := r.stopped
	r.stop, r.stopped = nil, false
	r.mu.Unlock()
	switch {
	case err == nil:
		r.record(reach.Stream, nil)
	case errors.Is(err, ErrGap):
		r.record(reach.Stream, nil)
		return changes, ErrGap
	case interrupted:
		return changes, errInterrupted
	default:
		r.record(reach.Stream, err)
	}
	return changes, err
}

// apply delivers changed records to their topics, and makes a beat due if instances have changed.
func (r *run) apply(changes Changes) {
	if b := r.currentBackfill(); b != nil {
		b.Stored(changes.Records)
	}
	r.deliver(changes.Records)
	r.received.Add(uint64(len(changes.Records)))
	r.mu.Lock()
	r.streaming = time.Now()
	r.mu.Unlock()
	if changes.Instances {
		r.beatWithin(soon(r.user().heartbeat(), r.instances.Load().Len(), 0))
	}
}

// resync reads all records of the store, delivers them, and begins a backfill of the records that
// the store lacks. It returns the new cursor, or the given one if reading fails.
func (r *run) resync(before Cursor) Cursor {
	why := r.resyncs.take()
	if why == byGap || why == byLoss {
		reach.Sleep(r.ctx, r.jitter())
	}
	r.pending.Accept() // the backfill finds earlier changes in the topics
	r.takeCopies()
	b := outgoing.NewBackfill(r.allRecords)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	slow := time.AfterFunc(r.timeout(), cancel)
	defer slow.Stop()
	var cursor Cursor
	err := reach.Protect("reading the records of a fleet", func() (err error) {
		cursor, err = r.conn.All(ctx, func(page []Record) {
			b.Stored(page)
			r.deliver(page)
			r.received.Add(uint64(len(page)))
			slow.Reset(r.timeout())
		})
		return err
	})
	r.record(reach.Stream, err)
	if err != nil {
		r.resyncs.want(why)
		return before
	}
	r.resyncs.done(why)
	b.After = time.Now().Add(r.jitter())
	r.mu.Lock()
	r.backfill, r.streaming = b, time.Now()
	r.mu.Unlock()
	select {
	case <-r.joined: // requests that wait for the records also need the shares of this instance
		r.setSynced()
	case <-r.ctx.Done():
	}
	r.wakeUp()
	return cursor
}

// takeCopies returns, and clears, the names of the topics whose records are to be copied.
func (r *run) takeCopies() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.copies {
		names = append(names, name)
	}
	r.copies = nil
	return names
}
