// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package mapstore is a store of sessions for Ballast from outside its repository: a map
// with a lock. A store on a server has the same methods.
package mapstore

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/sticky"
)

func init() { caddy.RegisterModule(new(Store)) }

// Store keeps sessions in a map in this process.
type Store struct {
	// MaxSessions is how many sessions a scope may have. Default: 100,000.
	MaxSessions int `json:"max_sessions,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.sessions.map", New: func() caddy.Module { return new(Store) }}
}

// Provision sets up the store.
func (s *Store) Provision(caddy.Context) error {
	if s.MaxSessions < 0 {
		return errors.New("max_sessions must be above 0")
	}
	if s.MaxSessions == 0 {
		s.MaxSessions = 100_000
	}
	return nil
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store map [<max_sessions>]
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the store
	if d.NextArg() {
		n, err := strconv.Atoi(d.Val())
		if err != nil || n < 1 {
			return d.Errf("max_sessions must be a whole number above 0, got %q", d.Val())
		}
		s.MaxSessions = n
	}
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("unexpected %q; write store map [<max_sessions>]", d.Val())
	}
	return nil
}

// tables are the sessions by scope. They outlive a reload: the old configuration ends
// after the new one has opened them.
var tables = caddy.NewUsagePool()

// table is the sessions of a scope. Safe for concurrent use.
type table struct {
	mu       sync.Mutex
	bindings map[sticky.Key]sticky.Binding
}

// Destruct implements [caddy.Destructor].
func (*table) Destruct() error { return nil }

// Open implements [sticky.Store].
func (s *Store) Open(scope string, l sticky.Lifetimes) (sticky.Sessions, error) {
	t, _, err := tables.LoadOrNew(scope, func() (caddy.Destructor, error) {
		return &table{bindings: make(map[sticky.Key]sticky.Binding)}, nil
	})
	if err != nil {
		return nil, err
	}
	return &sessions{t.(*table), scope, l, s.MaxSessions}, nil
}

// sessions are the sessions of a scope, for one configuration.
type sessions struct {
	*table
	scope     string
	lifetimes sticky.Lifetimes
	max       int
}

// find returns the binding of a session that lives. The caller holds s.mu.
func (s *sessions) find(key sticky.Key) (sticky.Binding, bool) {
	b, ok := s.bindings[key]
	if ok {
		ok, _ = s.lifetimes.Alive(b, time.Now().Unix())
	}
	return b, ok
}

// put binds a session. The caller holds s.mu.
func (s *sessions) put(key sticky.Key, b sticky.Binding) (sticky.Binding, error) {
	if _, ok := s.bindings[key]; !ok && len(s.bindings) >= s.max {
		for k := range s.bindings {
			if _, alive := s.find(k); !alive {
				delete(s.bindings, k)
			}
		}
		if len(s.bindings) >= s.max {
			return sticky.Binding{}, errors.New("the store is full")
		}
	}
	s.bindings[key] = b
	return b, nil
}

// Get implements [sticky.Sessions].
func (s *sessions) Get(_ context.Context, key sticky.Key) (sticky.Binding, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.find(key)
	return b, ok, nil
}

// BindIfAbsent implements [sticky.Sessions].
func (s *sessions) BindIfAbsent(_ context.Context, key sticky.Key, b sticky.Binding) (sticky.Binding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.find(key); ok {
		return old, nil
	}
	return s.put(key, b)
}

// Touch implements [sticky.Sessions].
func (s *sessions) Touch(_ context.Context, key sticky.Key, seen int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.find(key); ok && seen > b.Seen {
		b.Seen = seen
		s.bindings[key] = b
	}
	return nil
}

// Move implements [sticky.Sessions].
func (s *sessions) Move(_ context.Context, key sticky.Key, from sticky.ID, to sticky.Binding) (sticky.Binding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.find(key); ok && old.Backend != from {
		return old, nil
	}
	return s.put(key, to)
}

// Forget implements [sticky.Sessions].
func (s *sessions) Forget(_ context.Context, backend sticky.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, b := range s.bindings {
		if b.Backend == backend {
			delete(s.bindings, k)
		}
	}
	return nil
}

// Close implements [sticky.Sessions].
func (s *sessions) Close() error {
	_, err := tables.Delete(s.scope)
	return err
}

// Count implements [sticky.Counter].
func (s *sessions) Count(backend sticky.ID) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.bindings {
		if b, alive := s.find(k); alive && b.Backend == backend {
			n++
		}
	}
	return n
}

// Stats implements [sticky.Counter]. It does not count lookups, so that there are no
// metrics of them.
func (s *sessions) Stats() sticky.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.bindings)
	return sticky.Stats{Entries: &n}
}

// Table implements [sticky.Counter].
func (s *sessions) Table() any { return s.table }

// Interface guards
var (
	_ caddy.Provisioner     = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ sticky.Store          = (*Store)(nil)
	_ sticky.Counter        = (*sessions)(nil)
)
