// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// shedders holds the functions that report the handlers that shed load.
var shedders struct {
	mu  sync.Mutex
	all []func() []Shed
}

// Shedders registers a function that returns the reports of the handlers that shed load. Their
// package calls it in an init function.
func Shedders(f func() []Shed) {
	shedders.mu.Lock()
	defer shedders.mu.Unlock()
	shedders.all = append(shedders.all, f)
}

// All returns the reports of all pools, and of the handlers that shed load.
func All() Pools {
	all := Pools{Instance: thisProcess(), Pools: []PoolReport{}, Shed: sheds(), Fleet: fleetSummary()}
	for _, p := range pool.Pools() {
		all.Pools = append(all.Pools, OfPool(p))
	}
	return all
}

// sheds returns the reports of the handlers that shed load, by name.
func sheds() []Shed {
	all := []Shed{}
	shedders.mu.Lock()
	tell := slices.Clone(shedders.all)
	shedders.mu.Unlock()
	for _, f := range tell {
		all = append(all, f()...)
	}
	slices.SortFunc(all, func(a, b Shed) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
