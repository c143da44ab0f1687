// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "sync/atomic"

// Shared is what the backends of one pool or list share. Safe for concurrent
// use; a list's is no more than a count.
type Shared struct {
	total    atomic.Int64 // attempts in flight
	parked   atomic.Bool  // nobody watches, for want of attempts; see Pool.Park
	reports  atomic.Bool  // a backend has reported its load
	outliers *Outliers    // nil for none
	pool     *Pool        // nil for a list
}

// InFlight returns the attempts in flight on all of them, those apart that an
// earlier configuration made.
func (s *Shared) InFlight() int64 { return s.total.Load() }

// Share makes b one of those that share s. The first call must come before b
// gets requests; a later one with the same s, when other members have changed,
// writes nothing that a request reads.
func (b *Backend) Share(s *Shared) {
	if b.shared != s {
		b.shared = s
	}
}
