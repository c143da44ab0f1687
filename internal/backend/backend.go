// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
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
	// Tier gets the requests that lower tiers cannot take; 1 of a backup.
	Tier int
	// Backup has it serve only when no tier has a backend that can.
	Backup bool `json:",omitempty"`
	// MaxRequests bounds the requests in flight; 0 for no bound.
	MaxRequests int
	// Meta is free text for the operator.
	Meta map[string]string
	// Resolved are the IP addresses that the host name stands for, if that was
	// looked up already; see [Backend.Resolve]. They change with time.
	Resolved []string `json:"-"`
}

// Backend is one member of a pool in one configuration. Its settings, and the
// verdicts and upstream it was made with, are read-only; what changes is in
// [State] and [DecodeStatus], which it leases.
type Backend struct {
	// What each request reads comes first, and lies together.

	*State
	statuses    []*health.Status
	shared      *Shared       // nil while it is in no pool or list
	count       *atomic.Int64 // of shared, of the attempts in flight
	maxRequests atomic.Int64  // Settings.MaxRequests, or what an operator says
	// Upstream is built once and given to every request: Caddy only reads it,
	// and counts on its Host, which nobody else looks at.
	Upstream reverseproxy.Upstream
	resolved atomic.Pointer[resolved] // nil unless names are looked up in advance

	Settings
	// Pool is the name of the pool.
	Pool string

	refs               *shared.Refs
	announcedUp        atomic.Bool   // what was last announced
	announcedState     EjectionState // likewise, to one goroutine alone
	announcedEjections int64

	_ [56]byte // as in State
}

// New returns a backend on the given state. The leases, if any, are released
// with it.
func New(pool string, s Settings, state *State, verdicts []*health.Status, refs *shared.Refs) *Backend {
	b := &Backend{
		Settings: s,
		State:    state,
		Pool:     pool,
		statuses: verdicts,
		refs:     refs,
	}
	b.applyMaxRequests()
	b.Resolve(s.Resolved)
	b.Upstream.Dial, b.Upstream.Host, b.Upstream.MaxRequests = s.Address, &state.Host, s.MaxRequests
	b.announcedUp.Store(b.Up())
	b.EjectionChanged()
	return b
}

// Begin counts an attempt that is about to be made.
func (b *Backend) Begin(a *Attempt) {
	b.State.Begin()
	b.bound.begin(a.Affinity)
	b.ObserveBegin(a.Start)
	if !a.Slot {
		b.taken.Add(1)
	}
	if s := b.shared; s != nil {
		b.count.Add(1)
		if s.idle.Load() && s.idle.CompareAndSwap(true, false) {
			s.pool.wakeUp()
		}
		a.trial = b.Ejection.beginTrial()
	}
}

// Answer records that an attempt got the header of a response. It ends a trial.
func (b *Backend) Answer(a *Attempt) {
	var rules *OutlierRules
	if b.shared != nil {
		rules = b.shared.outliers
	}
	slow := rules != nil && rules.Stall > 0 && a.FirstByte >= rules.answeredInTime()
	if slow {
		b.slow.Add(1) // before it counts as answered: see Progress
	}
	b.State.Answer(a)
	b.bound.answer(a.Affinity, slow)
	if rules != nil && a.trial && !rules.isError(cmp.Or(a.Error, a.Status), nil) {
		b.succeeded()
	}
}

// End counts what became of an attempt, as [State.End] does, and gives its slot
// back.
func (b *Backend) End(a *Attempt, now time.Duration, err error, clientGone bool) {
	if a.Status == http.StatusSwitchingProtocols {
		err = nil // who broke a tunnel cannot be told, and Caddy itself does on reloads
	}
	failure := b.State.End(a, now, err, clientGone)
	if a.Affinity != Unbound && a.Status == 0 {
		b.bound.ended.Add(1)
	}
	if b.shared != nil {
		b.count.Add(-1)
		b.recordOutcome(a, now-a.Start, err, clientGone || errors.Is(err, context.Canceled), failure)
		if failure == Local && b.shared.pool != nil {
			b.shared.pool.RecordShortage(err)
		}
	}
	b.release() // last: who is handed the slot finds it all counted
}

// Up reports whether every health check says that the backend is up.
func (b *Backend) Up() bool {
	for _, v := range b.statuses {
		if !v.Up() {
			return false
		}
	}
	return true
}

// Report records that the backend has reported a load that comes to a weight.
func (b *Backend) Report(now time.Duration, weight float64) {
	if b.shared != nil && b.shared.pool != nil && weight > 0 {
		b.Load.Report(now, weight)
		b.shared.reports.Store(true)
	}
}

// Suppressed reports whether the backend counts as up though it fails a check.
func (b *Backend) Suppressed() bool {
	for _, v := range b.statuses {
		if v.Suppressed() && !v.Passing() {
			return true
		}
	}
	return false
}

// Open reports whether every health check lets requests through, and the
// operator does: all but ejection.
func (b *Backend) Open() bool {
	if b.Operator.out() {
		return false
	}
	for _, v := range b.statuses {
		if !v.Open() {
			return false
		}
	}
	return true
}

// Admitted reports whether the operator and the agents let requests through. It
// holds where health is ignored, too.
func (b *Backend) Admitted() bool {
	if b.Operator.out() {
		return false
	}
	for _, v := range b.statuses {
		if !v.Admitted() {
			return false
		}
	}
	return true
}

// ProbeTime returns the average time of the slowest check's probes in
// nanoseconds, 0 if none was made.
func (b *Backend) ProbeTime(now time.Duration) (slowest float64) {
	for _, v := range b.statuses {
		slowest = max(slowest, v.Time.Value(now, latency.Decay))
	}
	return slowest
}

// Statuses returns what each health check says, in the order of the checks.
func (b *Backend) Statuses() []*health.Status { return b.statuses }

// SwapAnnounced reports whether the backend has gone up or down since SwapAnnounced or
// New last looked, once for each change.
func (b *Backend) SwapAnnounced() (up, changed bool) {
	up = b.Up()
	return up, b.announcedUp.Swap(up) != up
}

// EjectionChanged reports what has happened since it, or New, last looked: whether
// the backend was ejected, has returned, or is in another phase. For one
// goroutine.
func (b *Backend) EjectionChanged() (ejected, returned, other bool) {
	phase, times := b.EjectionState(), b.Ejections()
	ejected, returned, other = times != b.announcedEjections, phase == Healthy && b.announcedState != Healthy, phase != b.announcedState
	b.announcedState, b.announcedEjections = phase, times
	return ejected, returned, other
}

// Release gives back what the backend leased. It may be called again.
func (b *Backend) Release() {
	if b.refs != nil {
		b.refs.Release()
	}
}
