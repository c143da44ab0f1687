// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// Guest is a store module for tests of configurations, {"module": "fleettest", "name": "..."}. It
// opens the [Memory] of a name. Tests register it with [caddy.RegisterModule].
type Guest struct {
	// Name is the name for [Named]. Each test in a bubble needs another name.
	Name string `json:"name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Guest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.fleet.fleettest", New: func() caddy.Module { return new(Guest) }}
}

// Open implements [fleet.Store].
func (g *Guest) Open() (fleet.Conn, error) { return Named(g.Name).Open() }

var named struct {
	mu  sync.Mutex
	all map[string]*Memory
}

// Forget makes the next call of Named return a new, empty store. A test calls it at its end, so
// that it can run again.
func Forget(name string) {
	named.mu.Lock()
	defer named.mu.Unlock()
	delete(named.all, name)
}

// Named returns the store of a name, which is empty at first.
func Named(name string) *Memory {
	named.mu.Lock()
	defer named.mu.Unlock()
	m := named.all[name]
	if m == nil {
		if m = NewMemory(); named.all == nil {
			named.all = make(map[string]*Memory)
		}
		named.all[name] = m
	}
	return m
}

// Interface guards
var _ fleet.Store = (*Guest)(nil)
