// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"math"
	weakrand "math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Prober probes one backend with one check on a schedule and keeps its status. It runs while
// any configuration uses it, so that a reload does not interrupt it. Each backend has its own
// probers, so none waits for another. Safe for concurrent use.
type Prober struct {
	periodic.Task[*User]
	// Status is the result of the probes.
	Status *health.Status

	panicked bool          // the latest probe panicked; used by step only
	jitter   atomic.Uint64 // random part of the interval after the latest probe, as math.Float64bits
}

// User is the use of a prober by one configuration.
type User struct {
	// Check is the check to run.
	Check Check
	// Target is the target to probe.
	Target Target
	// Delay is the time to the first probe of the prober. It spreads the probes of many
	// backends.
	Delay time.Duration
	// Changed is called without a lock when the status has changed.
	Changed func()
	// Passed is called without a lock after the very first pass; nil for no call.
	Passed func()
	// Shortage is called without a lock when a probe could not be made for lack of a local
	// resource, see [pool.Pool.TakeShortage]; nil for no call.
	Shortage func(error)
}

// key identifies a prober. Each pool and each check has its own prober of an address.
type key struct {
	state    backend.StateKey
	identity string
}

// SharedProber adds a reference to the prober of a backend and a check with the given
// [Identity].
func SharedProber(l *shared.Refs, state backend.StateKey, identity string, s *Schedule) *Prober {
	up := s.Initial != "down"
	p := shared.LoadOrNew(l, key{state, identity}, func() *Prober {
		p := &Prober{Status: health.NewStatus(up)}
		p.Run = p.step
		p.First = func(u *User) time.Duration { return u.Delay }
		p.Interval = func(u *User) time.Duration {
			return u.Check.Timing().after(p.Status, math.Float64frombits(p.jitter.Load()))
		}
		return p
	})
	p.Status.SetInitial(up)
	return p
}

// step makes one probe.
func (p *Prober) step(ctx context.Context, u *User) (afterwards func()) {
	// Drawn once for each probe: with a draw at each reload, the earliest time of all draws would
	// count.
	p.jitter.Store(math.Float64bits(weakrand.Float64()))
	if c, ok := u.Check.(AgentCheck); ok {
		return p.steer(ctx, c, u)
	}
	timing := u.Check.Timing()
	start := clock.Now()
	err := descriptor.probe(func() error {
		return p.within(ctx, u, func(ctx context.Context) error { return u.Check.Probe(ctx, u.Target) })
	})
	if ctx.Err() != nil { // a canceled probe is no result
		return nil
	}
	if p.reportShortage(err) {
		return nil
	}
	p.Status.ObserveDuration(err, clock.Now()-start)
	first := err == nil && !p.Status.Passed()
	changed := p.Status.Observe(err, timing.Passes, timing.Fails)
	switch {
	case first:
		return func() { p.notifyPassed(changed) }
	case changed:
		return p.notify
	}
	return nil
}

// Once runs a check, which must not be an AgentCheck, once, within its timeout.
func Once(ctx context.Context, c Check, t Target) error {
	return within(ctx, &User{Check: c, Target: t}, func(ctx context.Context) error { return c.Probe(ctx, t) })
}

// steer gets one instruction from the agent. An agent that cannot be reached is not a failure
// of the backend.
func (p *Prober) steer(ctx context.Context, c AgentCheck, u *User) (afterwards func()) {
	var i health.Instruction
	err := p.within(ctx, u, func(ctx context.Context) (err error) {
		i, err = c.Steer(ctx, u.Target)
		return err
	})
	switch {
	case ctx.Err() != nil, p.reportShortage(err):
		return nil
	case err != nil:
		p.Status.ObserveAgentError(err)
		return nil
	case !p.Status.ApplyInstruction(i):
		return nil
	}
	return p.notify
}

// reportShortage reports whether a probe could not be made for lack of a local resource. If so, it
// calls Shortage of all users.
func (p *Prober) reportShortage(err error) bool {
	if outlier.Classify(p.Status.Passed(), err) != outlier.Local {
		return false
	}
	p.Status.ObserveShortage()
	for _, u := range p.Users() {
		if u.Shortage != nil {
			listen(func() { u.Shortage(err) })
		}
	}
	return true
}

// notify calls Changed of all users.
func (p *Prober) notify() {
	for _, u := range p.Users() {
		listen(u.Changed)
	}
}

// notifyPassed calls Passed and, if the status has changed, Changed of all users.
func (p *Prober) notifyPassed(changed bool) {
	for _, u := range p.Users() {
		if u.Passed != nil {
			listen(u.Passed)
		}
	}
	if changed {
		p.notify()
	}
}

// listen calls a callback. A panic of the callback must not stop the probes.
func listen(f func()) {
	defer panics.Recover("reporting a probe result")
	f()
}

// errPanicked is the error of a probe that panics.
var errPanicked = errors.New("the check panicked")

// within is the function within, but logs only the first of consecutive panics.
func (p *Prober) within(ctx context.Context, u *User, probe func(context.Context) error) error {
	err := bounded(ctx, u, p.panicked, probe)
	p.panicked = errors.Is(err, errPanicked)
	return err
}

// within runs a probe within the timeout of the user's check. A panic is logged and fails the
// probe.
func within(ctx context.Context, u *User, probe func(context.Context) error) error {
	return bounded(ctx, u, false, probe)
}

// bounded is within, without logging a panic if quiet.
func bounded(ctx context.Context, u *User, quiet bool, probe func(context.Context) error) (err error) {
	timeout := time.Duration(u.Check.Timing().Timeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			if !quiet {
				panics.Log("probing "+u.Target.Address, r)
			}
			err = fmt.Errorf("%w: %v", errPanicked, r)
		}
	}()
	defer func() { err = clip.Error(err) }()
	err = probe(ctx)
	// A dial may report the deadline before the context does.
	if err != nil && (errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)) {
		if _, ok := errors.AsType[*unexpectedError](err); ok { // the backend has answered
			return fmt.Errorf("%w within %v", err, timeout)
		}
		return fmt.Errorf("no answer within %v: %w", timeout, err)
	}
	return err
}
