// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend/traffic"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/keepalive"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/loadreport"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
	"github.com/ballast-lb/caddy-ballast/internal/slowstart"
)

// State is the state of one backend of one pool that outlives the configuration. It refers to
// nothing of a configuration: no logger, no context. Its size is a multiple of a cache line, so
// that each State begins with one; a field that is added may need padding. Safe for concurrent use.
type State struct {
	// The fields that each request reads and writes come first, in three cache lines. In a large
	// pool the cache misses cost more than all other work on them.

	// Host is where Caddy counts requests. Ballast does not read it: see [Slots.InFlight].
	Host reverseproxy.Host
	outlier.Ejection
	Operator
	Slots
	latency.Tracker
	// Histogram counts the times to the response header.
	Histogram latency.Histogram
	Counters

	slowstart.Ramp
	loadreport.Load
	MaxRequestsOverride
	Streams
	// Traffic counts the connections that carry no HTTP.
	Traffic traffic.Connections
	// condition is the current condition, with the time since when it holds.
	condition atomic.Pointer[Condition]
	// Outages counts the changes between up and down.
	Outages *health.Outages
	// KeepAlive is how long the backend keeps idle connections.
	KeepAlive keepalive.Estimator

	// waits are nil in a pool that does not hedge.
	waits atomic.Pointer[waits]
}

// StateKey identifies a State.
type StateKey struct {
	// Pool is the name of the pool, or a substitute for unnamed pools.
	Pool string
	// Address is the dial address of the backend.
	Address string
	// Instance is as in [Settings]. Each instance at an address has its own state.
	Instance string
	// Duplicate distinguishes backends of unnamed pools with the same address and checks, by
	// their order.
	Duplicate int
}

// NewState returns an empty state.
func NewState() *State {
	s := &State{Outages: new(health.Outages), Counters: Counters{bound: new(boundCounters)}}
	s.Ejection.Init()
	s.Histogram.Init()
	return s
}

// SharedState returns the shared state of key. l holds the reference to it.
func SharedState(l *shared.Refs, key StateKey) *State { return shared.LoadOrNew(l, key, NewState) }
