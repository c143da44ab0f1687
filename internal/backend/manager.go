// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// Errors of a [Manager]. Others say what is wrong with what was asked for.
var (
	// ErrExists says that a pool has a backend with this address or id.
	ErrExists = errors.New("the pool has this backend already")
	// ErrUnknown says that a pool has no such backend.
	ErrUnknown = errors.New("the pool has no such backend")
	// ErrNotKept says that what was asked for was done, and that a restart undoes it
	// though it was to be kept. The backend is returned, too.
	ErrNotKept = errors.New("the change was made and holds until Caddy is restarted, since the storage does not keep it")
)

// Addition is a backend to add to a pool at run time. What is nil or empty is as
// for one that the configuration names.
type Addition struct {
	// Address is as in the configuration, but for one backend.
	Address string
	// ID is its name; empty for the address.
	ID string
	// Weight and MaxRequests are as in [Settings].
	Weight, MaxRequests *int
	// Tier is as in [Settings].
	Tier int
	// Backup is as in [Settings].
	Backup bool
	// Meta is as in [Settings].
	Meta map[string]string
	// TTL is for how long the backend stays unless it is added again, which then
	// is no error; 0 for ever.
	TTL time.Duration
	// Registered says that the backend speaks for itself: it may do so again, which
	// changes what is said of it.
	Registered bool
}

// Override is what an operator says instead of the configuration.
type Override struct {
	// Value is nil to have the configuration's again.
	Value *int
}

// Change is what to change of a backend. What is nil stays as it is.
type Change struct {
	// Weight and MaxRequests are as in [Settings].
	Weight, MaxRequests *Override
	// Admin is the administrative state.
	Admin *health.Admin
}

// Manager changes who is in a pool at run time, and how. What it does counts for
// the next request, and for as long as the pool keeps its name. It does all of a
// change or nothing. Safe for concurrent use.
type Manager interface {
	// Add adds a backend. [ErrExists] is for one that is there, unless it is
	// registered again.
	Add(a Addition) (*Backend, error)
	// Change changes the backend with the given id, or else address.
	Change(id string, c Change) (*Backend, error)
	// Remove removes a backend: it gets no more requests, and those that it has go
	// on. With registered, it must have registered itself.
	Remove(id string, registered bool) (*Backend, error)
	// Verify reports what keeps a backend at an address from working: what the
	// pool's health checks say or, without any, that it does not accept a
	// connection.
	Verify(ctx context.Context, address string) error
	// Canonical returns the dial address of one backend of this pool, as it is written
	// everywhere, or what is wrong with it.
	Canonical(address string) (string, error)
	// Origin returns where a backend is known from.
	Origin(address string) Origin
	// Checks returns the names of the health checks, in their order.
	Checks() []string
}

// Origin is where a backend of a pool is known from.
type Origin string

// The origins.
const (
	Configured Origin = "configuration"
	Added      Origin = "operator"     // through a [Manager]
	Registered Origin = "registration" // likewise, by itself
	Discovered Origin = "discovery"
)

// PoolChecker knows which pools a configuration defines. The app of the pools is one.
type PoolChecker interface {
	// CheckPool returns an error if the configuration defines no pool of this name. Its
	// backends may all register themselves. ctx is that of the handler they register
	// with.
	CheckPool(ctx caddy.Context, pool string) error
}

// SetManager has m change the pool's members. It must be called before the pool is
// activated.
func (p *Pool) SetManager(m Manager) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.manager = m
}

// Manager returns what changes the pool's members, or nil.
func (p *Pool) Manager() Manager {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.manager
}

// Get returns the member with the given id, or else with that address, or nil.
func (p *Pool) Get(id string) *Backend {
	members := p.View().Members
	for _, b := range members.All {
		if b.ID == id {
			return b
		}
	}
	return members.Find(id)
}

// SessionCounter knows which sessions are bound to the backends of a pool. A policy
// that keeps sessions is one. It is asked when somebody wants to know, and must not
// wait for anything.
type SessionCounter interface {
	// Sessions returns how many sessions are known to be bound to a backend, and
	// whether those are all that may be in use.
	Sessions(b *Backend) (sessions int, complete bool)
	// Counts returns what it counts sessions in. Keepers that share it have the same
	// sessions.
	Counts() any
	// Forget ends the sessions of a backend that an operator has removed.
	Forget(b *Backend)
}

// SessionCount is how many sessions are bound to a backend. The zero value is that of
// a pool whose policies keep none.
type SessionCount struct {
	// HasSessions says that a policy keeps sessions.
	HasSessions bool
	// Known is how many are known of.
	Known int
	// Complete says that those are all that may be in use: not so for a while after
	// a start, where clients know of sessions and nobody else does.
	Complete bool
}

// None reports whether it is certain that no session is bound.
func (c SessionCount) None() bool { return !c.HasSessions || c.Complete && c.Known == 0 }

// AddSessionCounter has the pool ask k about sessions. It is called while a configuration
// is provisioned.
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

// Sessions returns how many sessions are bound to a backend.
func (p *Pool) Sessions(b *Backend) SessionCount {
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

// Drained reports whether nothing is left on a backend that gets no new requests: no
// request is in flight, and it is certain that no session is bound to it.
func (p *Pool) Drained(b *Backend) bool { return !b.InUse() && p.Sessions(b).None() }

// ForgetSessions ends the sessions of a backend that an operator has removed.
func (p *Pool) ForgetSessions(b *Backend) {
	for _, k := range p.allSessionCounters() {
		k.Forget(b)
	}
}

// InUse reports whether the backend has requests in flight.
func (s *State) InUse() bool { return s.InFlight() > 0 }
