// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// stateKey returns the key of the state of a backend of p that outlives the configuration.
// Backends of unnamed pools with the same address and checks are duplicates.
func (a *App) stateKey(p *Pool, e *backend.Endpoint) backend.StateKey {
	if !p.Unnamed {
		return backend.StateKey{Pool: p.Name, Address: e.Address, Instance: e.Instance}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := backend.StateKey{Pool: ":" + p.identity, Address: e.Address, Instance: e.Instance} // no pool name begins with a colon
	for a.duplicates[key] != nil && a.duplicates[key].pool != p {
		key.Duplicate++
	}
	if a.duplicates[key] == nil {
		a.duplicates[key] = &duplicate{pool: p}
	}
	a.duplicates[key].members++
	return key
}

// duplicate is the use of a key by an unnamed pool. A member that is being replaced counts
// twice.
type duplicate struct {
	pool    *Pool
	members int
}

// freeKey releases the result of stateKey.
func (a *App) freeKey(key backend.StateKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.duplicates[key]; t != nil {
		if t.members--; t.members == 0 {
			delete(a.duplicates, key)
		}
	}
}
