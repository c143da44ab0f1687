// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// shedders are what tells of the handlers that shed load.
var shedders struct {
	mu  sync.Mutex
	all []func() []Shed
}

// Shedders has f tell of handlers that shed load. It is called by the package that has
// them, when the program starts.
func Shedders(f func() []Shed) {
	shedders.mu.Lock()
	defer shedders.mu.Unlock()
	shedders.all = append(shedders.all, f)
}

// All returns what is known of all pools, and of the handlers that shed load.
func All() Pools {
	all := Pools{Pools: []PoolReport{}, Shed: []Shed{}}
	for _, p := range backend.Pools() {
		all.Pools = append(all.Pools, OfPool(p))
	}
	shedders.mu.Lock()
	tell := slices.Clone(shedders.all)
	shedders.mu.Unlock()
	for _, f := range tell {
		all.Shed = append(all.Shed, f()...)
	}
	slices.SortFunc(all.Shed, func(a, b Shed) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
