// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "sync/atomic"

// Shared is what the backends of one pool or list share. Safe for concurrent
// use; a list's is no more than a count.
type Shared struct {
	idle     atomic.Bool   // nobody watches, for want of attempts; see Pool.Park
	reports  atomic.Bool   // a backend has reported its load
	outliers *OutlierRules // nil for none
	pool     *Pool         // nil for a list

	// The attempts in flight are counted in several places, by backend: each
	// request writes there twice, and processors would wait for each other.
	next   atomic.Uint32
	counts [16]struct {
		_ [56]byte
		n atomic.Int64
	}
}

// InFlight returns the attempts in flight on all of them, those apart that an
// earlier configuration made.
func (s *Shared) InFlight() (n int64) {
	for i := range s.counts {
		n += s.counts[i].n.Load()
	}
	return n
}

// Share makes b one of those that share s. The first call must come before b
// gets requests; a later one with the same s, when other members have changed,
// writes nothing that a request reads.
func (b *Backend) Share(s *Shared) {
	if b.shared != s {
		b.shared = s
		b.count = &s.counts[s.next.Add(1)%uint32(len(s.counts))].n
	}
}
