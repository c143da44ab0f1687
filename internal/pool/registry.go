// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"slices"
	"strings"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Current returns the active pool of this name, or nil.
func Current(name string) *Pool {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if s := registry.pools[name]; s != nil {
		top, _ := s.Current()
		return top
	}
	return nil
}

// IsCurrent reports whether p is the active pool of its name.
func (p *Pool) IsCurrent() bool { return Current(p.Name) == p }

// registry holds the pools of the running configurations, by name.
var registry struct {
	mu    sync.Mutex
	pools map[string]*shared.Generations[*Pool]
}

// Activate makes p the pool that [Current] and [Pools] return for its name, until Deactivate.
func (p *Pool) Activate() {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if registry.pools == nil {
		registry.pools = make(map[string]*shared.Generations[*Pool])
	}
	s := registry.pools[p.Name]
	if s == nil {
		s = new(shared.Generations[*Pool])
		registry.pools[p.Name] = s
	}
	s.Push(p)
}

// Deactivate undoes Activate. The pool that was active before becomes active again, if it is
// still running. Further calls do nothing. A deactivated pool is not activated again.
func (p *Pool) Deactivate() {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if s := registry.pools[p.Name]; s != nil && s.Remove(p) == 0 {
		delete(registry.pools, p.Name)
	}
	for _, g := range p.groups {
		g.queue.retire()
	}
}

// Pools returns the active pools, sorted by name.
func Pools() []*Pool {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	var pools []*Pool
	for _, s := range registry.pools {
		if p, ok := s.Current(); ok {
			pools = append(pools, p)
		}
	}
	slices.SortFunc(pools, func(a, b *Pool) int { return strings.Compare(a.Name, b.Name) })
	return pools
}
