// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// Operator is what an operator has asked of a backend at run time. No check and
// no outcome undoes it. Safe for concurrent use.
type Operator struct {
	admin  atomic.Uint32
	weight atomic.Pointer[health.AgentWeight] // nil for the configured one
}

// SetAdmin sets the administrative state.
func (o *Operator) SetAdmin(a health.Admin) { o.admin.Store(uint32(a)) }

// AdminState returns the administrative state.
func (o *Operator) AdminState() health.Admin { return health.Admin(o.admin.Load()) }

// SetWeight replaces the configured weight; nil undoes it.
func (o *Operator) SetWeight(w *health.AgentWeight) { o.weight.Store(w) }

// OperatorWeight returns what replaces the configured weight, or nil.
func (o *Operator) OperatorWeight() *health.AgentWeight { return o.weight.Load() }

func (o *Operator) out() bool { return o.admin.Load() != uint32(health.Ready) }

// MaxRequestsOverride is an operator's max_requests. Requests do not read it: a backend takes it
// over when its pool publishes a view. Safe for concurrent use.
type MaxRequestsOverride struct{ limit atomic.Int64 } // and one; 0 for none

// SetMaxRequests replaces the configured max_requests, where 0 is for no bound; nil
// undoes it.
func (o *MaxRequestsOverride) SetMaxRequests(n *int) {
	if n == nil {
		o.limit.Store(0)
		return
	}
	o.limit.Store(int64(*n) + 1)
}

// OperatorMaxRequests returns what replaces the configured max_requests, or nil.
func (o *MaxRequestsOverride) OperatorMaxRequests() *int {
	n := int(o.limit.Load()) - 1
	if n < 0 {
		return nil
	}
	return &n
}

// Asked reports whether an operator has asked anything of the backend.
func (s *State) Asked() bool {
	return s.out() || s.OperatorWeight() != nil || s.OperatorMaxRequests() != nil
}

// applyMaxRequests has the backend follow its operator's max_requests, or its settings.
func (b *Backend) applyMaxRequests() {
	limit := b.MaxRequests
	if n := b.OperatorMaxRequests(); n != nil {
		limit = *n
	}
	if b.maxRequests.Load() != int64(limit) {
		b.maxRequests.Store(int64(limit))
	}
}
