// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	weakrand "math/rand/v2"
	"os"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Prober probes one backend with one check on a schedule and keeps the
// verdict. It is process-wide: it works while a configuration uses it, so that
// a reload does not interrupt it. Each backend has a prober of its own, so none
// waits for another. Safe for concurrent use.
type Prober struct {
	periodic.Task[*User]
	// Status is what the probes amount to.
	Status *health.Status

	panicked bool // the latest probe did; for steps alone
}

// User is a configuration's use of a prober.
type User struct {
	// Check is how to probe.
	Check Check
	// Target is what to probe.
	Target Target
	// Delay is the time to the first probe of all, which spreads those of many
	// backends.
	Delay time.Duration
	// Changed is called without any lock when the verdict has changed.
	Changed func()
	// Shortage is called without any lock when a probe could not be made, as
	// [backend.DecodeStatus.TakeShortage] says; nil for nobody.
	Shortage func(error)
}

// key names a prober: two pools, or two checks, on one address stay apart.
type key struct {
	state    backend.StateKey
	identity string
}

// SharedProber leases the prober of a backend and a check, told by [Identity].
func SharedProber(l *shared.Refs, state backend.StateKey, identity string, s *Schedule) *Prober {
	up := s.Initial != "down"
	p := shared.LoadOrNew(l, key{state, identity}, func() *Prober {
		p := &Prober{Status: health.NewStatus(up)}
		p.Run = p.step
		p.First = func(u *User) time.Duration { return u.Delay }
		p.Interval = func(u *User) time.Duration {
			return u.Check.Timing().after(p.Status, weakrand.Float64())
		}
		return p
	})
	p.Status.SetInitial(up)
	return p
}

// step makes one probe.
func (p *Prober) step(ctx context.Context, u *User) (afterwards func()) {
	if c, ok := u.Check.(AgentCheck); ok {
		return p.steer(ctx, c, u)
	}
	timing := u.Check.Timing()
	start := clock.Now()
	err := descriptor.probe(func() error {
		return p.within(ctx, u, func(ctx context.Context) error { return u.Check.Probe(ctx, u.Target) })
	})
	if ctx.Err() != nil { // a probe that was called off says nothing of the backend
		return nil
	}
	if p.reportShortage(err) {
		return nil
	}
	p.Status.ObserveDuration(err, clock.Now()-start)
	if !p.Status.Observe(err, timing.Passes, timing.Fails) {
		return nil
	}
	return p.notify
}

// Once probes a target once with a check that does not steer, for as long as the
// check's timeout at most.
func Once(ctx context.Context, c Check, t Target) error {
	return within(ctx, &User{Check: c, Target: t}, func(ctx context.Context) error { return c.Probe(ctx, t) })
}

// steer asks the backend once what it wants. One that cannot be asked has not
// failed: it may do without.
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

// reportShortage reports whether a probe could not be made, and tells the users if so.
func (p *Prober) reportShortage(err error) bool {
	if backend.Classify(p.Status.Passed(), err) != backend.Local {
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

// notify calls all users.
func (p *Prober) notify() {
	for _, u := range p.Users() {
		listen(u.Changed)
	}
}

// listen calls who listens, who must not stop the probes.
func listen(f func()) {
	defer panics.Recover("telling of a probe")
	f()
}

// errPanicked is what a probe that panics fails with.
var errPanicked = errors.New("the check panicked")

// within is as the function, but logs only the first of several panics in a row.
func (p *Prober) within(ctx context.Context, u *User, probe func(context.Context) error) error {
	err := bounded(ctx, u, p.panicked, probe)
	p.panicked = errors.Is(err, errPanicked)
	return err
}

// within probes within the timeout of the user's check. A check that panics fails,
// and that is logged.
func within(ctx context.Context, u *User, probe func(context.Context) error) error {
	return bounded(ctx, u, false, probe)
}

// bounded is within, which does not log a panic if quiet.
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
	// A dial sees the deadline before the context does.
	if err != nil && (errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)) {
		if _, ok := errors.AsType[*unexpectedError](err); ok { // that was an answer
			return fmt.Errorf("%w within %v", err, timeout)
		}
		return fmt.Errorf("no answer within %v: %w", timeout, err)
	}
	return err
}
