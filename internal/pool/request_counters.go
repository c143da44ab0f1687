// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/locality"
	"github.com/ballast-lb/caddy-ballast/internal/mirror"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
	"github.com/ballast-lb/caddy-ballast/internal/shortage"
)

// RequestCounters counts queued and refused requests of a pool. It outlives the configuration. Safe
// for concurrent use.
type RequestCounters struct {
	queued  atomic.Int64 // requests that have entered the queue
	waits   atomic.Int64 // requests that have left it, for any reason
	nanos   atomic.Int64 // the sum of their waiting times
	refused [len(reasons)]atomic.Int64
	retries retry.Counters
	mirror  mirror.CopyCounters
}

// RetryCounters returns the counters of the retry policy.
func (p *Pool) RetryCounters() *retry.Counters { return &p.counters.retries }

// MirrorCounters returns the counters of copies of requests.
func (p *Pool) MirrorCounters() *mirror.CopyCounters { return &p.counters.mirror }

// requestCountersKey identifies RequestCounters by the name of the pool.
type requestCountersKey string

// zonesKey identifies the shares of zones of the pools with a name.
type zonesKey string

// ShareCounters makes the pool use the counters and shares of zones of the pools with its name in other
// configurations. It must be called before the pool gets requests.
func (p *Pool) ShareCounters(l *shared.Refs) {
	p.counters = shared.LoadOrNew(l, requestCountersKey(p.Name), func() *RequestCounters { return new(RequestCounters) })
	p.zones = shared.LoadOrNew(l, zonesKey(p.Name), func() *locality.Balances { return new(locality.Balances) })
	p.shortage = shortage.Shared(l)
}

func (t *RequestCounters) addWait(d time.Duration) {
	t.nanos.Add(int64(d))
	t.waits.Add(1)
}

// Refuse counts a request that got no backend.
func (p *Pool) Refuse(reason Reason) {
	if i := slices.Index(reasons[:], reason); i >= 0 {
		p.counters.refused[i].Add(1)
	}
}

// RecordShortage implements [backend.Owner]. It counts an attempt or a probe that failed because
// this machine lacked a resource for the connection.
func (p *Pool) RecordShortage(err error) { p.shortage.Record(err) }

// TakeShortage returns the failures to report; see [shortage.Counter.Take].
func (p *Pool) TakeShortage(now time.Duration) (times int64, latest error) {
	return p.shortage.Take(now)
}

// RequestTotals are the counts of a pool.
type RequestTotals struct {
	// Waiting is the number of requests that are waiting now, in this configuration.
	Waiting int
	// Queued counts the requests that have entered the queue. Waits counts those that have left
	// it, for any reason.
	Queued, Waits int64
	// Waited is the total waiting time of Waits.
	Waited time.Duration
	// Refused counts the requests that got no backend, for each of [Reasons].
	Refused map[Reason]int64
}

// Totals returns the counts so far.
func (p *Pool) Totals() RequestTotals {
	waiting := 0
	for _, g := range p.groups {
		g.queue.mu.Lock()
		waiting += g.queue.waiting
		g.queue.mu.Unlock()
	}
	t := p.counters
	r := RequestTotals{Waiting: waiting, Queued: t.queued.Load(), Refused: make(map[Reason]int64, len(reasons))}
	r.Waits, r.Waited = t.waits.Load(), time.Duration(t.nanos.Load())
	for i, reason := range reasons {
		r.Refused[reason] = t.refused[i].Load()
	}
	return r
}
