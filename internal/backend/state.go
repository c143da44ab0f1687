// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// State is what is known of one backend of one pool and outlives the
// configuration. It holds nothing of a configuration: no logger, no context.
// Safe for concurrent use.
type State struct {
	// What each request reads and writes comes first, in three cache lines: in a
	// large pool, each line costs more than all else that is done with it.

	// Host is where Caddy counts, for nobody: see Slots.InFlight.
	Host reverseproxy.Host
	Ejection
	Operator
	Slots
	latency.Tracker
	// Histogram counts the times to the header of a response.
	Histogram latency.Histogram
	Counters

	Ramp
	Load
	MaxRequestsOverride
	// condition is since when the backend is in the state that it is in.
	condition atomic.Pointer[Condition]
	// transitions counts the times the backend went down or came up.
	transitions atomic.Int64

	_ [16]byte // to a size of which all begin with a cache line
}

// StateKey names a State.
type StateKey struct {
	// Pool is the pool's name, or what stands for it where it has none.
	Pool string
	// Address is the backend's dial address.
	Address string
	// Duplicate tells backends of unnamed pools with the same address and checks
	// apart.
	Duplicate int
}

// NewState returns the state of a backend that nothing is known of.
func NewState() *State {
	s := &State{Ejection: Ejection{ejections: new(ejections)}, Counters: Counters{bound: new(boundCounters)}}
	s.Histogram.Init()
	return s
}

// SharedState leases the state named by key.
func SharedState(l *shared.Refs, key StateKey) *State { return shared.LoadOrNew(l, key, NewState) }

// CountTransition counts that the backend went down or came up.
func (s *State) CountTransition() { s.transitions.Add(1) }

// Transitions returns how often the backend went down or came up.
func (s *State) Transitions() int64 { return s.transitions.Load() }
