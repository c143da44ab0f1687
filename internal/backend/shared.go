// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "sync/atomic"

// Shared is the state that the backends of one pool or list share. For a list it is a count only.
// Safe for concurrent use.
type Shared struct {
	idle     atomic.Bool   // the control loop is idle; see Pool.GoIdle
	reports  atomic.Bool   // a backend has reported its load
	outliers *OutlierRules // nil for none
	pool     *Pool         // nil for a list

	// The attempts in flight are counted in several counters, each for some of the backends.
	// Every request writes its counter twice, and processors would contend for a single one.
	next   atomic.Uint32
	counts [16]struct {
		_ [56]byte
		n atomic.Int64
	}
}

// InFlight returns the attempts in flight on all of the backends, without those of earlier
// configurations.
func (s *Shared) InFlight() (n int64) {
	for i := range s.counts {
		n += s.counts[i].n.Load()
	}
	return n
}

// Share adds b to the backends that share s. The first call must come before b gets requests.
// Later calls with the same s write nothing that a request reads.
func (b *Backend) Share(s *Shared) {
	if b.shared != s {
		b.shared = s
		b.count = &s.counts[s.next.Add(1)%uint32(len(s.counts))].n
	}
}
