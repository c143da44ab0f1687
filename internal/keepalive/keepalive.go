// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package keepalive learns how long a backend keeps idle connections.
package keepalive

import (
	"sync"
	"sync/atomic"
	"time"
)

// Times of an [Estimator].
const (
	// A connection is closed a quarter of the timeout before the backend would close it, at most
	// maxMargin and at least minMargin or a half. The times of scheduling and of the network do
	// not become less with the timeout.
	minMargin = 10 * time.Millisecond
	maxMargin = time.Second
	// maxFactor bounds the factor of the margin while connections break at lower ages.
	maxFactor = 3
	// spacing is how far apart two closes are at least, or their age, if they count as two. A
	// backend that stops closes all its connections at once.
	spacing = time.Second
	// step is the time after which what was learned is tried again with a quarter more. Without
	// that an estimate that is too short would last, as no connection would get older.
	step = time.Minute
	// lifetime is how long an announced timeout counts after the last response that has it.
	lifetime = 10 * time.Minute
	// renewal is the interval at which the time of an announcement is stored.
	renewal = time.Minute
	// longest is the longest timeout of interest: proxies close idle connections earlier.
	longest = 10 * time.Minute
	// shortest is the shortest timeout of interest.
	shortest = time.Millisecond
)

// Estimator estimates how long a backend keeps idle connections, from what it announces and from the ages at which
// it closes them. The zero value has no estimate. Times are readings of one monotonic clock. Safe for concurrent
// use; it takes a lock only when the estimate may change.
type Estimator struct {
	limit       atomic.Int64 // 0 for none
	changes     atomic.Int64 // when limit changes by itself; 0 for never
	announced   atomic.Int64 // the backend's timeout; 0 for none
	announcedAt atomic.Int64

	mu      sync.Mutex
	age     time.Duration // of a close; 0 for none
	at      time.Duration // when that was
	learned time.Duration // 0 for nothing
	retryAt time.Duration // when learned is raised
	factor  time.Duration // of the margin, beyond the first; at most maxFactor - 1
	easeAt  time.Duration // when factor is lowered
}

// Limit returns the longest time for which a connection may be idle and is still used, or 0 if
// nothing is known.
func (e *Estimator) Limit(now time.Duration) time.Duration {
	if at := e.changes.Load(); at != 0 && int64(now) >= at {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.update(now)
	}
	return time.Duration(e.limit.Load())
}

// Announce records the timeout that a response has in its field Keep-Alive.
func (e *Estimator) Announce(now, timeout time.Duration) {
	if timeout <= 0 || timeout > longest {
		return
	}
	if e.announced.Load() == int64(timeout) && int64(now)-e.announcedAt.Load() < int64(renewal) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.announced.Store(int64(timeout))
	e.announcedAt.Store(int64(now))
	e.update(now)
}

// Closed records that the backend closed a connection that was idle for the given time. One close
// may have any reason. Two that are apart, at ages that differ by less than a quarter, show a
// timeout.
func (e *Estimator) Closed(now, age time.Duration) {
	if age > longest {
		return
	}
	age = max(age, shortest)
	e.mu.Lock()
	defer e.mu.Unlock()
	lower, higher := min(age, e.age), max(age, e.age)
	switch {
	case e.age == 0 || higher-lower > higher/4:
		e.age, e.at = age, now
	case now-e.at < min(spacing, lower): // likely the same event
		e.age = lower
	default:
		e.age, e.at = age, now
		e.learned, e.retryAt = lower, now+step
		e.update(now)
	}
}

// Suspect records that a request failed because its connection broke, which was idle for the given
// time before, and that the backend may have received the request. If that is about as long as is
// allowed, the backend may have closed the connection just then: the margin becomes larger, for
// some minutes.
func (e *Estimator) Suspect(now, age time.Duration) {
	if limit := e.Limit(now); limit == 0 || age <= limit/2 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.factor, e.easeAt = min(e.factor+1, maxFactor-1), now+step
	e.update(now)
}

// update computes the limit. The caller must hold mu.
func (e *Estimator) update(now time.Duration) {
	for e.learned != 0 && now >= e.retryAt {
		e.learned += e.learned / 4
		e.retryAt += step
		if e.learned > longest {
			e.learned = 0
		}
	}
	for e.factor > 0 && now >= e.easeAt {
		e.factor--
		e.easeAt += step
	}
	timeout, next := e.learned, time.Duration(0)
	if e.learned != 0 {
		next = e.retryAt
	}
	if e.factor > 0 && (next == 0 || e.easeAt < next) {
		next = e.easeAt
	}
	if a := time.Duration(e.announced.Load()); a != 0 {
		ends := time.Duration(e.announcedAt.Load()) + lifetime
		if now >= ends {
			e.announced.Store(0)
		} else {
			if timeout == 0 || a < timeout {
				timeout = a
			}
			if next == 0 || ends < next {
				next = ends
			}
		}
	}
	margin := min(max(timeout/4, min(timeout/2, minMargin)), maxMargin)
	e.limit.Store(int64(timeout - min((1+e.factor)*margin, timeout*3/4)))
	e.changes.Store(int64(next))
}
