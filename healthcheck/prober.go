// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	weakrand "math/rand/v2"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// Prober probes one backend with one check on a schedule and keeps the
// verdict. It is process-wide: it works while a configuration uses it, so that
// a reload does not interrupt it. Each backend has a prober of its own, so none
// waits for another. Safe for concurrent use.
type Prober struct {
	lease.Worker[*User]
	// Verdict is what the probes amount to.
	Verdict *backend.Verdict
}

// User is a configuration's use of a prober.
type User struct {
	// Check is how to probe.
	Check Check
	// Target is what to probe.
	Target Target
	// Changed is called without any lock when the verdict has changed, with
	// the failure that changed it or nil. Of several users, only one is in
	// charge, and speaks for all in logs and events.
	Changed func(failure error, inCharge bool)
}

// key names a prober: two pools, or two checks, on one address stay apart.
type key struct {
	state    backend.StateKey
	identity string
}

// Lease leases the prober of a backend and a check, told by [Identity].
func Lease(l *lease.Leases, state backend.StateKey, identity string, s *Schedule) *Prober {
	up := s.Initial != "down"
	p := lease.Take(l, key{state, identity}, func() *Prober {
		p := &Prober{Verdict: backend.NewVerdict(up)}
		p.Step = p.step
		p.Interval = func(u *User) time.Duration {
			return u.Check.Timing().after(p.Verdict, weakrand.Float64())
		}
		return p
	})
	p.Verdict.Initial(up)
	return p
}

// step makes one probe.
func (p *Prober) step(ctx context.Context, u *User) (afterwards func()) {
	timing := u.Check.Timing()
	start := backend.Now()
	err := probe(ctx, u)
	if ctx.Err() != nil { // a probe that was called off says nothing of the backend
		return nil
	}
	p.Verdict.Timed(err, backend.Now()-start)
	if !p.Verdict.Observe(err, timing.Passes, timing.Fails) {
		return nil
	}
	return func() { p.tell(err) }
}

// tell calls all users, the one in charge last.
func (p *Prober) tell(failure error) {
	defer func() { _ = recover() }() // whoever listens must not stop the probes
	users := p.Users()
	for i, u := range users {
		u.Changed(failure, i == len(users)-1)
	}
}

// probe runs the user's check within its timeout. A check that panics fails.
func probe(ctx context.Context, u *User) (err error) {
	timeout := time.Duration(u.Check.Timing().Timeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the check panicked: %v", r)
		}
	}()
	err = u.Check.Probe(ctx, u.Target)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", timeout, err)
	}
	return err
}
