// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// SetManager sets the manager of the pool's membership. It must be called before the pool is
// activated.
func (p *Pool) SetManager(m membership.Manager) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.manager = m
}

// Manager returns the manager of the pool's membership, or nil.
func (p *Pool) Manager() membership.Manager {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.manager
}

// Get returns the member with the given id, or else with that address, or nil.
func (p *Pool) Get(id string) *backend.Backend {
	members := p.View().Members
	for _, b := range members.All {
		if b.ID == id {
			return b
		}
	}
	return members.Find(id)
}

// SessionCounter counts the sessions that are bound to the backends of a pool. Session policies
// implement it. Its methods are called on demand and must not block.
type SessionCounter interface {
	// Sessions returns the number of known sessions of a backend, and whether these are all that
	// may be in use.
	Sessions(b *backend.Backend) (sessions int, complete bool)
	// Counts returns the identity of the underlying count. Counters with the same identity count
	// the same sessions.
	Counts() any
	// Forget ends the sessions of a backend that an operator has removed.
	Forget(b *backend.Backend)
}

// SessionCount is the number of sessions of a backend. In a pool without session policies it is zero.
type SessionCount struct {
	// HasSessions reports that a policy keeps sessions.
	HasSessions bool
	// Known is the number of known sessions.
	Known int
	// Complete reports that Known includes all sessions that may be in use. It is false for a while after a
	// start, when only the clients know their sessions.
	Complete bool
}

// None reports whether it is certain that no session is bound.
func (c SessionCount) None() bool { return !c.HasSessions || c.Complete && c.Known == 0 }

// AddSessionCounter adds a counter to the pool. It is called while a configuration is
// provisioned.
func (p *Pool) AddSessionCounter(k SessionCounter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessionCounters = append(p.sessionCounters, k)
}

func (p *Pool) allSessionCounters() []SessionCounter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessionCounters
}

// Sessions returns the number of sessions that are bound to a backend.
func (p *Pool) Sessions(b *backend.Backend) SessionCount {
	c := SessionCount{Complete: true}
	counted := make(map[any]bool)
	for _, k := range p.allSessionCounters() {
		c.HasSessions = true
		if in := k.Counts(); !counted[in] {
			counted[in] = true
			n, complete := k.Sessions(b)
			c.Known += n
			c.Complete = c.Complete && complete
		}
	}
	return c
}

// Drained reports whether a backend without new requests is free: it has no request in flight,
// and certainly no session.
func (p *Pool) Drained(b *backend.Backend) bool { return !b.InUse() && p.Sessions(b).None() }

// ForgetSessions ends the sessions of a backend that an operator has removed.
func (p *Pool) ForgetSessions(b *backend.Backend) {
	for _, k := range p.allSessionCounters() {
		k.Forget(b)
	}
}
