// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"errors"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// fleetWord after a limit makes it a limit of the fleet.
const fleetWord = "fleet"

// fleetRule is a constant limit of the fleet. A gateSet replaces it by a shareLimit.
type fleetRule struct{ admission.Fixed }

// shareLimit is this instance's share of a limit of the fleet, which may be 0.
type shareLimit struct{ atomic.Int64 }

// Start implements [admission.Rule].
func (l *shareLimit) Start() admission.State { return admission.State{Limit: float64(l.Load())} }

// fleetFor returns the fleet that a rule needs; nil if it needs none.
func fleetFor(ctx caddy.Context, rule admission.Rule) (*fleet.Fleet, error) {
	if _, ok := rule.(fleetRule); !ok {
		return nil, nil
	}
	f := fleet.Of(ctx)
	if f == nil {
		return nil, errors.New("shed fixed <limit> fleet needs a fleet; write `fleet { store redis <address> }`, or another store, in the ballast global option, or remove the word fleet")
	}
	return f, nil
}

// follow keeps the limit equal to the share of this instance, until end is called. The remainder of
// the division goes to the same instances for all handlers with the same name, or without one.
func (g *gateSet) follow(f *fleet.Fleet, name string) (end func()) {
	apply := func(*fleet.Instances) { g.applyShare(f, name) }
	end = f.Watch(apply)
	apply(nil) // the shares may have changed before Watch
	return end
}

// applyShare sets the limit of all gates to the current share. New gates begin with it.
func (g *gateSet) applyShare(f *fleet.Fleet, name string) {
	g.applying.Lock() // so that the latest share is applied last
	defer g.applying.Unlock()
	n := f.Share(g.limit, name)
	g.share.Store(int64(n))
	if g.one != nil {
		g.one.SetLimit(clock.Now(), n)
	} else {
		g.keys.setLimit(clock.Now(), n)
	}
}

// Interface guards
var (
	_ admission.Rule = fleetRule{}
	_ admission.Rule = (*shareLimit)(nil)
)
