// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/outgoing"
	"github.com/ballast-lb/caddy-ballast/internal/fleet/reach"
)

// callTimeout bounds each call to the store. [Paced] stores get more if they are slow.
const callTimeout = time.Second

// run is the work of a fleet while it has users: one goroutine that sends beats and pushes, and one that reads
// changes. Safe for concurrent use.
type run struct {
	*Fleet
	ctx    context.Context
	cancel context.CancelFunc
	store  Store
	reach  *reach.Reach
	before <-chan struct{} // closed when the previous run has ended; nil for none
	opened chan struct{}   // closed after open
	begun  chan struct{}   // closed when the store was first reached, or aloneAfter has passed
	joined chan struct{}   // closed when the first reply to a beat was applied
	read   chan struct{}   // closed when the goroutine that reads has ended
	ended  chan struct{}   // closed when both goroutines have ended
	wake   chan struct{}   // wakes the goroutine that sends beats
	wait   *time.Timer     // closes Synced after the Wait of the user
	conn   Conn            // set before opened is closed; nil if the run ended before

	acknowledged atomic.Uint64 // the lowest generation that a living instance has acknowledged

	mu        sync.Mutex // guards the fields below
	beatDue   time.Time
	copies    map[string]bool    // names of topics whose records are to be copied
	stop      context.CancelFunc // ends the current call of Changes
	stopped   bool               // the current call of Changes, or the next one, must end
	backfill  *outgoing.Backfill // nil for none
	streaming time.Time          // when changes were last read; zero for never

	// Used only by the goroutine that sends beats.
	members    members
	latestPush time.Time // when the latest round of pushes began
}

// endWait bounds how long Stop waits for a store whose calls do not return when their context ends.
const endWait = 5 * time.Second

// Start adds a user and makes it the current one. With the first user, the instance joins the fleet.
func (f *Fleet) Start(u *User) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users.Push(u)
	if f.run != nil {
		f.run.beatWithin(0) // the heartbeat, zone or version may differ
		return
	}
	r := &run{
		Fleet: f, store: u.Store, reach: reach.New(), before: f.ending,
		opened: make(chan struct{}), begun: make(chan struct{}), joined: make(chan struct{}), read: make(chan struct{}), ended: make(chan struct{}), wake: make(chan struct{}, 1),
		wait: time.AfterFunc(u.Wait, f.setSynced),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	f.instances.Store(f.first())
	f.resyncs.want(byStart)
	f.run, f.ending = r, r.ended
	go r.beats()
	go r.reads()
}

// Stop removes a user. With the last one, the instance leaves the fleet, and Stop waits for that, up to
// endWait. Further calls with the same user do nothing.
func (f *Fleet) Stop(u *User) {
	f.mu.Lock()
	r := f.run
	if f.users.Remove(u) > 0 || r == nil {
		f.mu.Unlock()
		if r != nil {
			r.beatWithin(0)
		}
		return
	}
	f.run = nil
	f.mu.Unlock()
	r.wait.Stop()
	r.cancel()
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-r.ended:
	case <-timer.C:
		if u.Logger != nil {
			u.Logger.Error("the store of the fleet does not return from a call that was cancelled")
		}
	}
}

// wakeUp wakes the goroutine that sends beats.
func (r *run) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// beatWithin makes a beat due after d, or earlier.
func (r *run) beatWithin(d time.Duration) {
	due := time.Now().Add(d)
	r.mu.Lock()
	earlier := due.Before(r.beatDue)
	if earlier {
		r.beatDue = due
	}
	r.mu.Unlock()
	if earlier {
		r.wakeUp()
	}
}

// nextBeat makes the next beat due after d.
func (r *run) nextBeat(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beatDue = time.Now().Add(d)
}

// untilBeat returns how long it is until a beat is due.
func (r *run) untilBeat() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.beatDue)
}

// copyLater schedules the copying of records between the topics of a name.
func (r *run) copyLater(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.copies == nil {
		r.copies = make(map[string]bool)
	}
	r.copies[name] = true
}

// interrupt ends the current call of Changes, or the next one.
func (r *run) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	if r.stop != nil {
		r.stop()
	}
}

// timeout bounds each call to the store.
func (r *run) timeout() time.Duration {
	if s, ok := r.store.(Paced); ok {
		return max(callTimeout, s.Pace()/2)
	}
	return callTimeout
}

// call calls the store, and records the result. Errors after the end of the run do not count.
func (r *run) call(c reach.Call, doing string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(r.ctx, r.timeout())
	defer cancel()
	err := reach.Protect(doing, func() error { return f(ctx) })
	r.record(c, err)
	return err
}

// record records the result of a call, and announces if the store was lost or works again.
func (r *run) record(c reach.Call, err error) {
	if r.ctx.Err() != nil {
		return
	}
	lost, returned := r.reach.Record(c, err)
	switch {
	case lost:
		r.announceLost(err)
	case returned:
		r.announceReturned()
	}
	if err != nil && c != reach.Beat {
		r.beatWithin(reach.Backoff(1))
	}
}

var errClosed = errors.New("the fleet has ended")

// open opens the connection, with retries until the run ends.
func (r *run) open() error {
	defer close(r.opened)
	if r.before != nil {
		select {
		case <-r.before:
		case <-r.ctx.Done():
			return errClosed
		}
	}
	for r.ctx.Err() == nil {
		err := reach.Protect("opening the store of a fleet", func() (err error) {
			if r.conn, err = r.store.Open(); err == nil && r.conn == nil {
				err = errors.New("the store has returned no connection")
			}
			return err
		})
		if err == nil {
			return nil
		}
		r.conn = nil
		r.record(reach.Beat, err)
		wait, _ := r.reach.Wait(reach.Beat)
		reach.Sleep(r.ctx, wait)
	}
	return errClosed
}
