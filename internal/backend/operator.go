// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// Operator holds the run-time settings of an operator for a backend. Checks and outcomes do not
// change them. Safe for concurrent use.
type Operator struct {
	// word is a health.Admin in the lowest bits, above it the number of members of pools that have the
	// state, and at the top whether the backend is removed.
	word   atomic.Uint32
	weight atomic.Pointer[health.AgentWeight] // nil for the configured one
}

const (
	adminBits uint32 = 1<<8 - 1
	oneMember uint32 = 1 << 8
	removed   uint32 = 1 << 31
)

// change replaces the word.
func (o *Operator) change(next func(word uint32) uint32) {
	for {
		if word := o.word.Load(); o.word.CompareAndSwap(word, next(word)) {
			return
		}
	}
}

// SetAdmin sets the administrative state.
func (o *Operator) SetAdmin(a health.Admin) {
	o.change(func(word uint32) uint32 { return word&^adminBits | uint32(a) })
}

// AdminState returns the administrative state.
func (o *Operator) AdminState() health.Admin { return health.Admin(o.word.Load() & adminBits) }

// Enter counts a member of the pool of a configuration.
func (o *Operator) Enter() {
	o.change(func(word uint32) uint32 { return word&^removed + oneMember })
}

// Leave undoes Enter. A backend that was taken out of the last pool that had it is removed: it gets no
// requests any more, not even those that began in a configuration which has ended, and retry. One whose
// configurations have ended is still there for these.
func (o *Operator) Leave(takenOut bool) {
	o.change(func(word uint32) uint32 {
		if word -= oneMember; takenOut && word&^removed < oneMember {
			word |= removed
		}
		return word
	})
}

// Removed reports whether the backend was removed, and not added again.
func (o *Operator) Removed() bool { return o.word.Load()&removed != 0 }

// SetWeight replaces the configured weight; nil restores it.
func (o *Operator) SetWeight(w *health.AgentWeight) { o.weight.Store(w) }

// OperatorWeight returns the replacement of the configured weight, or nil.
func (o *Operator) OperatorWeight() *health.AgentWeight { return o.weight.Load() }

// Out reports whether the operator wants no new requests, or has removed the backend.
func (o *Operator) Out() bool { return o.word.Load()&(adminBits|removed) != uint32(health.Ready) }

// MaxRequestsOverride is an operator's max_requests. A lower one is in effect at once; otherwise a backend adopts it when
// its pool publishes a view. Safe for concurrent use.
type MaxRequestsOverride struct{ limit atomic.Int64 } // the limit plus 1; 0 for no override

// SetMaxRequests replaces the configured max_requests, where 0 means no limit; nil restores it.
func (o *MaxRequestsOverride) SetMaxRequests(n *int) {
	if n == nil {
		o.limit.Store(0)
		return
	}
	o.limit.Store(int64(*n) + 1)
}

// OperatorMaxRequests returns the replacement of the configured max_requests, or nil.
func (o *MaxRequestsOverride) OperatorMaxRequests() *int {
	n := int(o.limit.Load()) - 1
	if n < 0 {
		return nil
	}
	return &n
}

// Asked reports whether an operator has changed anything of the backend.
func (s *State) Asked() bool {
	return s.AdminState() != health.Ready || s.OperatorWeight() != nil || s.OperatorMaxRequests() != nil
}

// noSlots is the limit of a backend that may have no request in flight.
const noSlots = -1

// limitOfAll returns max_requests as the operator has set it, or else as configured; 0 for no limit. fleet reports
// whether the instances of a fleet share it.
func (b *Backend) limitOfAll() (limit int, fleet bool) {
	limit = valueOr(b.OperatorMaxRequests(), valueOr(b.MaxRequests, 0))
	return limit, b.MaxRequestsFleet && limit > 0
}

// FleetLimit returns max_requests of the fleet and this instance's share of it, if ok.
func (b *Backend) FleetLimit() (limit, share int, ok bool) {
	limit, ok = b.limitOfAll()
	return limit, max(0, int(b.maxRequests.Load())), ok
}

// ApplyMaxRequests recomputes the limit from the operator's max_requests, the configured one, and the share of this
// instance.
func (b *Backend) ApplyMaxRequests() {
	for {
		limit, fleet := b.limitOfAll()
		instances := b.shared.Fleet().Instances()
		if fleet {
			limit = b.shared.share(limit, b.Address)
		}
		if b.maxRequests.Load() != int64(limit) {
			b.maxRequests.Store(int64(limit))
		}
		if b.sharedBy.Load() != instances {
			b.sharedBy.Store(instances)
		}
		if b.shared.Fleet().Instances() == instances {
			return // else a concurrent call may have computed a later limit, which this one has replaced
		}
	}
}

// outdated reports whether the instances of the fleet have changed since ApplyMaxRequests. The pool of a configuration
// that has ended does not call it any more.
func (b *Backend) outdated() bool {
	return b.MaxRequestsFleet && b.sharedBy.Load() != b.shared.Fleet().Instances()
}
