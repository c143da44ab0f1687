// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// Pool is the members of one pool in one configuration and the view of them.
// Safe for concurrent use.
type Pool struct {
	// Name is unique among the pools of a configuration.
	Name string

	view  atomic.Pointer[View]
	total atomic.Int64
	dirty atomic.Bool

	mu          sync.Mutex // guards members, generation and subscribers
	members     *Members
	generation  uint64
	subscribers []func(*View)
}

// NewPool returns a pool without members.
func NewPool(name string) *Pool {
	p := &Pool{Name: name, members: NewMembers(nil)}
	p.view.Store(NewView(0, p.members))
	return p
}

// View returns the current view. It never blocks.
func (p *Pool) View() *View { return p.view.Load() }

// Find returns the member with the given dial address, or nil.
func (p *Pool) Find(address string) *Backend { return p.View().Members.Find(address) }

// InFlight returns the attempts in flight on all members, those apart that an
// earlier configuration made.
func (p *Pool) InFlight() int64 { return p.total.Load() }

// Probed reports whether the members have health checks, or may have when there
// are some.
func (p *Pool) Probed() bool {
	members := p.View().Members.All
	return len(members) == 0 || len(members[0].Verdicts()) > 0
}

// SetMembers replaces the members and publishes a view of them.
func (p *Pool) SetMembers(members *Members) {
	for _, b := range members.All {
		b.ShareTotal(&p.total)
	}
	p.mu.Lock()
	p.members = members
	p.mu.Unlock()
	p.Publish()
}

// Publish makes a new view, after a change of what the members' eligibility
// or weights depend on, and gives it to the subscribers. Changes that come
// together share a view: only the first of the callers that wait here has one
// to make.
func (p *Pool) Publish() {
	p.dirty.Store(true)
	p.mu.Lock()
	if !p.dirty.Swap(false) {
		p.mu.Unlock()
		return
	}
	p.generation++
	v := NewView(p.generation, p.members)
	p.view.Store(v)
	subscribers := slices.Clone(p.subscribers)
	p.mu.Unlock()
	for _, f := range subscribers {
		f(v)
	}
}

// Subscribe calls f with the current view and with each new one, on the
// goroutine that publishes it. Calls may overlap and arrive out of order: keep
// the view of the highest generation. There is no way back: a subscriber
// belongs to the configuration that the pool belongs to.
func (p *Pool) Subscribe(f func(*View)) {
	p.mu.Lock()
	p.subscribers = append(p.subscribers, f)
	v := p.view.Load()
	p.mu.Unlock()
	f(v)
}

// active are the pools of the running configurations, by name.
var active struct {
	mu    sync.Mutex
	pools map[string]*lease.Stack[*Pool]
}

// Activate makes p the pool that Find and Pools return for its name, until
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
// it is still running. It may be called again.
func (p *Pool) Deactivate() {
	active.mu.Lock()
	defer active.mu.Unlock()
	if s := active.pools[p.Name]; s != nil && s.Remove(p) == 0 {
		delete(active.pools, p.Name)
	}
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
