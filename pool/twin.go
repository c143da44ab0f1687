// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import "github.com/ballast-lb/caddy-ballast/internal/backend"

// stateKey returns the key of what outlives the configuration of a backend of
// p. Backends of unnamed pools with the same address and checks are twins.
func (a *App) stateKey(p *Pool, address string) backend.StateKey {
	if !p.Unnamed {
		return backend.StateKey{Pool: p.Name, Address: address}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := backend.StateKey{Pool: ":" + p.identity, Address: address} // no name begins so
	for a.twins[key] != nil && a.twins[key].pool != p {
		key.Duplicate++
	}
	if a.twins[key] == nil {
		a.twins[key] = &twin{pool: p}
	}
	a.twins[key].members++
	return key
}

// twin is an unnamed pool's claim to a key. A member that is being replaced has
// it twice.
type twin struct {
	pool    *Pool
	members int
}

// freeKey gives back what stateKey returned.
func (a *App) freeKey(key backend.StateKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.twins[key]; t != nil {
		if t.members--; t.members == 0 {
			delete(a.twins, key)
		}
	}
}
