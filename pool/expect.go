// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Expect implements [backend.Expecter]. Whether there is such a pool can only be
// told when all proxies are provisioned, which may have one of their own.
func (a *App) Expect(pool, by string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wanted == nil {
		a.wanted = make(map[string]string)
	}
	a.wanted[pool] = by
}

// checkWanted says which pool is missing.
func (a *App) checkWanted() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.wanted)) {
		if p := a.pools[name]; p == nil || p.Unnamed {
			return fmt.Errorf("%s needs a pool %q, and there is none; define it in the ballast global option, or write `dynamic pool %s { ... }`", a.wanted[name], name, name)
		}
	}
	return nil
}

// Interface guards
var _ backend.Expecter = (*App)(nil)
