// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// Settings are what the configuration, or discovery, says of one backend.
type Settings struct {
	// Address is the dial address, as in [reverseproxy.Upstream].
	Address string
	// ID is the name in cookies, metrics and the admin API.
	ID string
	// Weight is the share of requests relative to the other backends of the
	// tier; 0 takes none.
	Weight int
	// Tier serves only when every lower tier has no eligible backend.
	Tier int
	// Meta is free text for the operator.
	Meta map[string]string
}

// Backend is one member of a pool in one configuration. Its settings, and the
// verdicts and upstream it was made with, are read-only; what changes is in
// [State] and [Verdict], which it leases.
type Backend struct {
	// What each request reads comes first, and lies together.

	// Upstream is built once and given to every request: Caddy only reads it,
	// and counts on its Host.
	Upstream reverseproxy.Upstream
	*State
	verdicts []*Verdict
	total    *atomic.Int64 // attempts in flight on all backends of the pool or list

	Settings
	// Pool is the name of the pool.
	Pool string

	leases *lease.Leases
	up     atomic.Bool // what was last announced
}

// New returns a backend on the given state. The leases, if any, are released
// with it.
func New(pool string, s Settings, state *State, verdicts []*Verdict, leases *lease.Leases) *Backend {
	b := &Backend{
		Settings: s,
		State:    state,
		Pool:     pool,
		verdicts: verdicts,
		leases:   leases,
	}
	b.Upstream.Dial, b.Upstream.Host = s.Address, &state.Host
	b.up.Store(b.Up())
	return b
}

// ShareTotal makes b count its attempts in flight in total, too. The first call
// must come before b gets requests; a later one with the same total, when other
// members have changed, writes nothing that a request reads.
func (b *Backend) ShareTotal(total *atomic.Int64) {
	if b.total != total {
		b.total = total
	}
}

// Begin counts an attempt that is about to be made.
func (b *Backend) Begin() {
	b.State.Begin()
	if b.total != nil {
		b.total.Add(1)
	}
}

// End counts what became of an attempt, as [State.End] does.
func (b *Backend) End(a *Attempt, now time.Duration, err error, clientGone bool) {
	b.State.End(a, now, err, clientGone)
	if b.total != nil {
		b.total.Add(-1)
	}
}

// Up reports whether every health check says that the backend is up.
func (b *Backend) Up() bool {
	for _, v := range b.verdicts {
		if !v.Up() {
			return false
		}
	}
	return true
}

// Eligible reports whether the backend may get requests now.
func (b *Backend) Eligible() bool { return b.Up() }

// EffectiveWeight is the one place where a backend's weight is made.
func (b *Backend) EffectiveWeight() float64 { return float64(b.Weight) }

// InFlight returns the number of requests in flight.
func (b *Backend) InFlight() int { return b.Upstream.NumRequests() }

// ProbeTime returns the average time of the slowest check's probes in
// nanoseconds, 0 if none was made.
func (b *Backend) ProbeTime(now time.Duration) (slowest float64) {
	for _, v := range b.verdicts {
		slowest = max(slowest, v.Time.Value(now, latencyDecay))
	}
	return slowest
}

// Verdicts returns what each health check says, in the order of the checks.
func (b *Backend) Verdicts() []*Verdict { return b.verdicts }

// Announce reports whether the backend has gone up or down since Announce or
// New last looked, once for each change.
func (b *Backend) Announce() (up, changed bool) {
	up = b.Up()
	return up, b.up.Swap(up) != up
}

// Release gives back what the backend leased. It may be called again.
func (b *Backend) Release() {
	if b.leases != nil {
		b.leases.Release()
	}
}
