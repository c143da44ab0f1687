// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// Guest is a module for tests of configurations, {"module": "fleettest", "name": "..."}: the
// [Memory] of a name. Tests register it with [caddy.RegisterModule].
type Guest struct {
	// Name is that of [Named]. Tests in bubbles need names of their own.
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

// Forget makes the store of a name another, empty one for the next who asks for it. A test calls it at its
// end, so that it can run again.
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
