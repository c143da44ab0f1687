// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// PoolCounters counts who has waited for a slot of a pool, and who was refused. It outlives
// the configuration. Safe for concurrent use.
type PoolCounters struct {
	queued  atomic.Int64 // have begun to wait
	waits   atomic.Int64 // have ended, in whatever way
	nanos   atomic.Int64 // they took
	refused [len(reasons)]atomic.Int64
}

// poolCountersKey names a Tally by the pool's name.
type poolCountersKey string

// ShareCounters has the pool count where the pools of its name in other configurations
// do. It must be called before the pool gets requests.
func (p *Pool) ShareCounters(l *shared.Refs) {
	p.counters = shared.LoadOrNew(l, poolCountersKey(p.Name), func() *PoolCounters { return new(PoolCounters) })
	p.shortage = sharedShortage(l)
}

func (t *PoolCounters) addWait(d time.Duration) {
	t.nanos.Add(int64(d))
	t.waits.Add(1)
}

// Refuse counts a request that got no backend.
func (p *Pool) Refuse(reason Reason) {
	if i := slices.Index(reasons[:], reason); i >= 0 {
		p.counters.refused[i].Add(1)
	}
}

// PoolTotals is what a pool has counted.
type PoolTotals struct {
	// Waiting is how many requests wait now, in this configuration.
	Waiting int
	// Queued counts the requests that have begun to wait, and Waits those that have
	// ended it, in whatever way.
	Queued, Waits int64
	// Waited is how long the latter have waited together.
	Waited time.Duration
	// Refused counts the requests that got no backend, by all reasons that there are.
	Refused map[Reason]int64
}

// Totals returns the counts so far.
func (p *Pool) Totals() PoolTotals {
	p.queue.mu.Lock()
	waiting := p.queue.waiting
	p.queue.mu.Unlock()
	t := p.counters
	r := PoolTotals{Waiting: waiting, Queued: t.queued.Load(), Refused: make(map[Reason]int64, len(reasons))}
	r.Waits, r.Waited = t.waits.Load(), time.Duration(t.nanos.Load())
	for i, reason := range reasons {
		r.Refused[reason] = t.refused[i].Load()
	}
	return r
}

// CountRequest counts a request that is sent for the first time.
func (p *Pool) CountRequest() {
	if p.budget != nil {
		p.budget.Request(clock.Now())
	}
}

// MayRetry reports whether a request may be sent again, and Retry whether it is:
// Retry counts it.
func (p *Pool) MayRetry() bool { return p.budget == nil || p.budget.Left(clock.Now()) }

// Retry is as [Pool.MayRetry] says.
func (p *Pool) Retry() bool { return p.budget == nil || p.budget.Retry(clock.Now()) }
