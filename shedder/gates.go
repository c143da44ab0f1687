// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"net/http"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/instances"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// gateSet holds the gates of a handler, one or one for each key. It outlives the
// configuration. Safe for concurrent use.
type gateSet struct {
	counts admission.Counts
	one    *admission.Gate // nil with keys
	keys   *gateTable
	share  shareLimit // of limit
	limit  int        // limit of the fleet; 0 for none

	applying sync.Mutex // held while a share is applied
}

// registry lists the gates of the handlers in all loaded configurations.
var registry = instances.New(&declared, collect)

func newGateSet(config admission.Config, per *Per) *gateSet {
	g := new(gateSet)
	config.Counts = &g.counts
	if limit, ok := config.Rule.(fleetRule); ok {
		g.limit, config.Rule = int(limit.Fixed), &g.share
	}
	if per == nil {
		g.one = admission.NewGate(config, clock.Now())
	} else {
		g.keys = newTable(config, per)
	}
	return g
}

// gate returns the gate for a request, and the function to call at the request's end.
func (g *gateSet) gate(r *http.Request) (gate *admission.Gate, release func()) {
	if g.one != nil {
		return g.one, func() {}
	}
	return g.keys.gate(r)
}
