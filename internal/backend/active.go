// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// Active returns the pool that Pools returns for a name, or nil.
func Active(name string) *Pool {
	active.mu.Lock()
	defer active.mu.Unlock()
	if s := active.pools[name]; s != nil {
		top, _ := s.Top()
		return top
	}
	return nil
}

// InCharge reports whether p is the pool that Pools returns for its name.
func (p *Pool) InCharge() bool { return Active(p.Name) == p }

// active are the pools of the running configurations, by name.
var active struct {
	mu    sync.Mutex
	pools map[string]*lease.Stack[*Pool]
}

// Activate makes p the pool that [Active] and [Pools] return for its name, until
// Deactivate.
func (p *Pool) Activate() {
	active.mu.Lock()
	defer active.mu.Unlock()
	if active.pools == nil {
		active.pools = make(map[string]*lease.Stack[*Pool])
	}
	s := active.pools[p.Name]
	if s == nil {
		s = new(lease.Stack[*Pool])
		active.pools[p.Name] = s
	}
	s.Push(p)
}

// Deactivate undoes Activate; the pool that was active before is so again, if
// it is still running. It may be called again, and not undone.
func (p *Pool) Deactivate() {
	active.mu.Lock()
	defer active.mu.Unlock()
	if s := active.pools[p.Name]; s != nil && s.Remove(p) == 0 {
		delete(active.pools, p.Name)
	}
	p.queue.retire()
}

// Pools returns the active pools, sorted by name.
func Pools() []*Pool {
	active.mu.Lock()
	defer active.mu.Unlock()
	var pools []*Pool
	for _, s := range active.pools {
		if p, ok := s.Top(); ok {
			pools = append(pools, p)
		}
	}
	slices.SortFunc(pools, func(a, b *Pool) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return pools
}
