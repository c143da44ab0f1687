// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// Shared is the state that the backends of one pool or list share. For a list it is a count only.
// Safe for concurrent use.
type Shared struct {
	idle     atomic.Bool     // the next attempt wakes the owner
	reports  atomic.Bool     // a backend has reported its load
	outliers *outlier.Rules  // nil for none
	owner    Owner           // nil for a list
	fleet    *fleet.Fleet    // nil for none
	outcomes *rollout.Counts // nil for none

	// The attempts in flight are counted in several counters, each for some of the backends.
	// Every request writes its counter twice, and processors would contend for a single one.
	next   atomic.Uint32
	counts [16]struct {
		_ [56]byte
		n atomic.Int64
	}
}

// Owner is the pool of the backends that share a state. Its methods are called without a lock.
type Owner interface {
	// WakeUp is called when an attempt has begun after [Shared.GoIdle].
	WakeUp()
	// Eject ejects a backend unless too many are ejected already. noConnection reports that all errors that led
	// to it were failures to connect.
	Eject(b *Backend, reason string, noConnection bool)
	// RecordShortage counts an attempt that failed because this machine lacked a resource.
	RecordShortage(err error)
}

// SetOwner sets the owner, and the rules of ejection; nil for none. It must be called before a
// backend shares s.
func (s *Shared) SetOwner(owner Owner, rules *outlier.Rules) {
	s.owner, s.outliers = owner, rules
}

// SetFleet sets the fleet whose instances share the limits of backends with max_requests_fleet; nil
// for none. It must be called before a backend shares s.
func (s *Shared) SetFleet(f *fleet.Fleet) { s.fleet = f }

// Fleet returns what SetFleet has set, or nil. It is nil for a nil *Shared.
func (s *Shared) Fleet() *fleet.Fleet {
	if s == nil {
		return nil
	}
	return s.fleet
}

// SetCounts sets what counts the outcomes of the attempts, for a rollout; nil for none. It must be
// called before a backend shares s.
func (s *Shared) SetCounts(c *rollout.Counts) { s.outcomes = c }

// share returns this instance's share of a limit of the fleet, or noSlots, also in no pool.
func (s *Shared) share(limit int, address string) int {
	if s != nil {
		if n := s.fleet.Share(limit, address); n > 0 {
			return n
		}
	}
	return noSlots
}

// Reporting reports whether a backend has reported its load.
func (s *Shared) Reporting() bool { return s.reports.Load() }

// GoIdle makes the next attempt wake the owner. It returns false if attempts are in flight.
func (s *Shared) GoIdle() bool {
	s.idle.Store(true)
	// An attempt that begins meanwhile either sees the flag or is counted by InFlight.
	return s.InFlight() == 0 || !s.idle.CompareAndSwap(true, false)
}

// InFlight returns the attempts in flight on all of the backends, except those of earlier configurations.
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
