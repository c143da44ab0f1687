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

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/resolved"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
	"github.com/ballast-lb/caddy-ballast/internal/slowstart"
)

// Backend is one member of a pool in one configuration. Its settings, statuses and upstream are
// read-only. What changes at run time is in [State] and [health.Status], to which it holds
// references.
type Backend struct {
	// Every request reads these fields. They are adjacent to share cache lines.

	*State
	statuses    []*health.Status
	shared      *Shared       // nil while it is in no pool or list
	count       *atomic.Int64 // of shared: attempts in flight
	maxRequests atomic.Int64  // that of the settings, the operator's, or a share; 0 for none, or noSlots
	barred      atomic.Uint32 // see SetDraining and SetJoining
	// Upstream is built once and returned for every request. Caddy only reads it, and counts
	// requests in its Host, which Ballast does not read.
	Upstream           reverseproxy.Upstream
	resolved.Addresses                                 // of the host name, if it is resolved in advance
	hedgeDelay         atomic.Int64                    // see HedgeDelay
	unused             atomic.Bool                     // see SetUnused
	joinFailure        atomic.Pointer[string]          // see JoinFailed
	sharedBy           atomic.Pointer[fleet.Instances] // the instances of the fleet for which maxRequests was computed

	Endpoint
	// Pool is the name of the pool.
	Pool string

	refs               *shared.Refs
	announcedUp        atomic.Bool           // as last returned by SwapAnnounced
	announcedState     outlier.EjectionState // likewise, by EjectionChanged; for one goroutine
	announcedEjections int64

	_ [8]byte // padding, as in State
}

// New returns a backend on the given state. It becomes the owner of refs, which may be nil; [Backend.Release]
// releases them.
func New(pool string, e Endpoint, state *State, statuses []*health.Status, refs *shared.Refs) *Backend {
	b := &Backend{
		Endpoint: e,
		State:    state,
		Pool:     pool,
		statuses: statuses,
		refs:     refs,
	}
	b.ApplyMaxRequests()
	b.Resolve(e.Resolved)
	b.SetDraining(e.Draining)
	b.Upstream.Dial, b.Upstream.Host, b.Upstream.MaxRequests = e.Address, &state.Host, valueOr(e.MaxRequests, 0)
	b.announcedUp.Store(b.Up())
	b.EjectionChanged()
	return b
}

// Begin counts an attempt that is about to start.
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
			s.owner.WakeUp()
		}
		a.trial = s.outliers != nil && b.Ejection.BeginTrial()
	}
}

// Answer records that an attempt received a response header. A header without an error status
// ends a half-open trial.
func (b *Backend) Answer(a *Attempt) {
	var rules *outlier.Rules
	if b.shared != nil {
		rules = b.shared.outliers
	}
	if s := b.shared; s != nil && s.outcomes != nil {
		a.wrong = s.outcomes.CountAnswer(a.Status, a.Error, a.FirstByte)
	}
	slow := rules != nil && rules.Stall > 0 && a.FirstByte >= rules.AnsweredInTime()
	if slow {
		b.slow.Add(1) // before answered: see Progress
	}
	b.State.Answer(a)
	b.bound.answer(a.Affinity, slow)
	if rules != nil && a.trial && !rules.IsError(cmp.Or(a.Error, a.Status), nil) {
		b.TrialSucceeded()
		b.Restart(a.Start+a.FirstByte, a.FirstByte, a.Load)
		b.notifyFree() // slots that the ejection has kept back
	}
}

// Expire calls [outlier.Ejection.Expire]. A half-open backend counts as faster than any other, so that policies
// that compare latencies send it the trial.
func (b *Backend) Expire(now time.Duration) bool {
	if !b.Ejection.Expire(now) {
		return false
	}
	b.Restart(now, time.Nanosecond, 1)
	return true
}

// Recovered records that a backend which was down is up. Failures and latencies of the time before
// say nothing about it.
func (b *Backend) Recovered() {
	if b.ExpireNow(clock.Now()); b.InFlight() == 0 {
		b.Restart(0, 0, 0)
	} else {
		b.Forgive() // without a latency, it would get nothing before one of those requests is answered
	}
}

// End counts the outcome of an attempt, as [State.End] does, and releases its slot.
func (b *Backend) End(a *Attempt, now time.Duration, err error, clientGone bool) {
	clientGone = clientGone || errors.Is(err, context.Canceled)
	switch {
	case a.Status == http.StatusSwitchingProtocols && a.Exempt != outlier.Closed && !a.Early:
		err = nil // either side may break a tunnel, and Caddy does so on reloads
	case clientGone && (a.failed() || a.Error != 0):
		err = nil // the header has shown the failure
	}
	failure := b.State.End(a, now, err, clientGone)
	if a.Affinity != Unbound && a.Status == 0 {
		b.bound.ended.Add(1)
	}
	if b.shared != nil {
		b.count.Add(-1)
		b.recordOutcome(a, now-a.Start, err, clientGone, failure)
		if !a.wrong && a.Exempt == outlier.NoFailure && !failure.Blameless() {
			late := failure != outlier.NoFailure || err == nil && a.Error != 0
			b.shared.outcomes.CountEnd(now-a.Start, a.Status != 0, late, a.Hedgeable)
		}
		if failure == outlier.Local && b.shared.owner != nil {
			b.shared.owner.RecordShortage(err)
		}
	}
	b.release() // last: the next holder of the slot must see this attempt counted
}

// SetUnused sets whether the backend is outside the subset of this instance. It is then not probed, and gets only
// the requests of its sessions.
func (b *Backend) SetUnused(unused bool) { b.unused.Store(unused) }

// Unused reports what [Backend.SetUnused] has set.
func (b *Backend) Unused() bool { return b.unused.Load() }

// Up reports whether the backend is up in every health check, and does not wait for the first one.
func (b *Backend) Up() bool {
	if b.Joining() {
		return false
	}
	for _, v := range b.statuses {
		if !v.Up() {
			return false
		}
	}
	return true
}

// Report records the weight that a load report of the backend amounts to or, if that is 0, its
// utilization. It ignores a report with neither.
func (b *Backend) Report(now time.Duration, weight, utilization float64) {
	if b.shared != nil && b.shared.owner != nil && (weight > 0 || utilization > 0) {
		b.Load.Report(now, weight, utilization)
		b.shared.reports.Store(true)
	}
}

// Suppressed reports whether the backend counts as up although it fails a check, because the
// guard holds its status.
func (b *Backend) Suppressed() bool {
	for _, v := range b.statuses {
		if v.Suppressed() && !v.Passing() {
			return true
		}
	}
	return false
}

// Open reports whether all health checks and the operator allow requests. It does not consider
// ejection.
func (b *Backend) Open() bool {
	if b.Operator.Out() || b.barred.Load() != 0 {
		return false
	}
	for _, v := range b.statuses {
		if !v.Open() {
			return false
		}
	}
	return true
}

// Admitted reports whether the operator and the agents allow requests. It applies in panic mode,
// too, where health is ignored.
func (b *Backend) Admitted() bool {
	if b.out() {
		return false
	}
	for _, v := range b.statuses {
		if !v.Admitted() {
			return false
		}
	}
	return true
}

// Serving implements [Member]: it reports whether the backend gets its share of the requests.
func (b *Backend) Serving() bool { return b.Open() && b.EjectionState() == outlier.Healthy }

// SlowStart implements [slowstart.Member].
func (b *Backend) SlowStart() *slowstart.Ramp { return &b.Ramp }

// ProbeTime returns the average probe duration of the slowest check in nanoseconds, 0 before the
// first probe.
func (b *Backend) ProbeTime(now time.Duration) (slowest float64) {
	for _, v := range b.statuses {
		slowest = max(slowest, v.Time.Value(now, latency.Decay))
	}
	return slowest
}

// Statuses returns the status of each health check, in the order of the checks.
func (b *Backend) Statuses() []*health.Status { return b.statuses }

// SwapAnnounced returns whether the backend is up, and whether that has changed since the last
// call or New. It reports each change once.
func (b *Backend) SwapAnnounced() (up, changed bool) {
	up = b.Up()
	return up, b.announcedUp.Swap(up) != up
}

// EjectionChanged reports what has changed since its last call or New: whether the backend was
// ejected, has returned, or is in another state of ejection. Only one goroutine may call it.
func (b *Backend) EjectionChanged() (ejected, returned, other bool) {
	phase, times := b.EjectionState(), b.Ejections()
	ejected, returned, other = times != b.announcedEjections, phase == outlier.Healthy && b.announcedState != outlier.Healthy, phase != b.announcedState
	b.announcedState, b.announcedEjections = phase, times
	return ejected, returned, other
}

// Release releases the references of the backend. Further calls do nothing.
func (b *Backend) Release() {
	if b.refs != nil {
		b.refs.Release()
	}
}
