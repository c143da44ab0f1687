// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/reach"
	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

// beats sends beats and pushes changes until the run ends, and then leaves the fleet.
func (r *run) beats() {
	defer close(r.ended)
	defer r.pending.Clear() // the next run begins with a resync
	if err := r.open(); err != nil {
		<-r.read
		return
	}
	timer := time.NewTimer(never)
	defer timer.Stop()
	for r.ctx.Err() == nil {
		if r.untilBeat() <= 0 {
			r.beat()
		}
		pushes := r.push()
		wait := min(pushes, r.untilBeat())
		if wait <= 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-r.wake:
		case <-r.ctx.Done():
		}
	}
	<-r.read
	r.leave()
}

// leaveTimeout bounds the last pushes in total, and then the call that leaves the fleet.
const leaveTimeout = 500 * time.Millisecond

// leave pushes the last changes, leaves the fleet, and closes the connection.
func (r *run) leave() {
	if connected, _, _ := r.reach.Status(); connected {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		record.Batches(r.pending.Take().Records(), func(batch []Record) bool {
			return reach.Protect("pushing records of a fleet", func() error { return r.conn.Push(ctx, r.id, batch) }) == nil
		})
		cancel()
		ctx, cancel = context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		_ = reach.Protect("leaving a fleet", func() error { return r.conn.Leave(ctx, r.id) })
	}
	_ = reach.Protect("closing the store of a fleet", r.conn.Close)
}

var (
	errNoGeneration = errors.New("the store has returned no generation")
	errNoInstances  = errors.New("the store has returned no instances")
)

// beat sends a beat to the store, and applies the reply.
func (r *run) beat() {
	u, m := r.user(), &r.members
	heartbeat := u.heartbeat()
	self := Instance{ID: r.id, Name: r.name, Zone: u.Zone, Version: u.Version, Acknowledged: m.generation}
	known := m.generation
	var b Beat
	r.nextBeat(heartbeat)
	err := r.call(reach.Beat, "beating in a fleet", func(ctx context.Context) (err error) {
		b, err = r.conn.Beat(ctx, self, lives*heartbeat, known)
		switch {
		case err != nil:
		case b.Generation == 0:
			err = errNoGeneration
		case b.Generation != known && len(b.Instances) == 0:
			err = errNoInstances
		}
		return err
	})
	if err != nil {
		wait, _ := r.reach.Wait(reach.Beat)
		r.nextBeat(wait)
		return
	}
	<-r.begun // so that only one goroutine calls watchers
	lost := m.lost(b)
	if lost {
		r.resyncs.want(byLoss)
		r.interrupt()
	}
	if lost && b.Instances == nil {
		m.forget(b)
		r.beatWithin(0)
		return
	}
	r.acknowledged.Store(b.Acknowledged)
	before, first := r.instances.Load(), !m.reached
	next := m.apply(before, self, b, lives*heartbeat)
	if next != nil {
		r.setInstances(next)
		r.announceInstances(before, next)
	}
	if first {
		close(r.joined)
	}
	r.beatWithin(m.wait(heartbeat, r.instances.Load().Len(), next != nil))
}

// aloneAfter is how long an instance waits for the first reply of the store before it acts as if it were
// alone.
const aloneAfter = 250 * time.Millisecond

// awaitFirst returns when the store was reached, or after aloneAfter. In the latter case the instance acts as
// if it were alone until the store is reached.
func (r *run) awaitFirst() {
	defer close(r.begun)
	ctx, cancel := context.WithTimeout(r.ctx, aloneAfter)
	defer cancel()
	if i := r.instances.Load(); !r.reach.Await(ctx, reach.Beat) && r.ctx.Err() == nil && i.Generation == 0 {
		r.setInstances(&Instances{All: i.All, Alone: true})
	}
}
