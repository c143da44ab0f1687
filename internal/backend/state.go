// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// State is what is known of one backend of one pool and outlives the
// configuration. It holds nothing of a configuration: no logger, no context.
// Safe for concurrent use.
type State struct {
	// Host counts the requests in flight; Caddy does the counting. It lies
	// beside the averages, since policies look at both.
	Host reverseproxy.Host
	Latency
	Counters
	Ejection
	Operator
	Warmup
	Load
	// Histogram counts the times to the header of a response. It is large, and
	// lies elsewhere, so that many states fit in little memory.
	Histogram *Histogram

	// transitions counts the times the backend went down or came up.
	transitions atomic.Int64
}

// StateKey names a State.
type StateKey struct {
	// Pool is the pool's name, or what stands for it where it has none.
	Pool string
	// Address is the backend's dial address.
	Address string
	// Twin tells backends of unnamed pools with the same address and checks
	// apart.
	Twin int
}

// NewState returns the state of a backend that nothing is known of.
func NewState() *State { return &State{Histogram: new(Histogram)} }

// LeaseState leases the state named by key.
func LeaseState(l *lease.Leases, key StateKey) *State { return lease.Take(l, key, NewState) }

// CountTransition counts that the backend went down or came up.
func (s *State) CountTransition() { s.transitions.Add(1) }

// Transitions returns how often the backend went down or came up.
func (s *State) Transitions() int64 { return s.transitions.Load() }
