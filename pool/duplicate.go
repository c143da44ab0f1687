// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// stateKey returns the key of the state that outlives the configuration of a backend of p.
// Backends of unnamed pools with the same address and checks are duplicates.
func (a *App) stateKey(p *Pool, address string) backend.StateKey {
	if !p.Unnamed {
		return backend.StateKey{Pool: p.Name, Address: address}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := backend.StateKey{Pool: ":" + p.identity, Address: address} // no pool name begins with a colon
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
