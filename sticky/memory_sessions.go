// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// tableKey is the key of a shared table.
type tableKey struct {
	scope   string
	network any // nil for a table of this process alone
}

// openMemory opens the table of a scope, which is replicated over a network, if there is one.
func openMemory(n network, scope string, r rules) *memorySessions {
	s := &memorySessions{rules: r}
	s.table = shared.LoadOrNew(&s.refs, tableKey{scope, n.id}, func() *table { return newTable(tableShards) })
	s.join(n, scope)
	return s
}

// memorySessions are the sessions of a scope with the rules of one configuration. Its methods
// never block and never fail.
type memorySessions struct {
	table   *table
	rules   rules
	refs    shared.Refs
	replica *replica // nil for a table of this process alone
	closed  sync.Once
}

func now() int64 { return time.Now().Unix() }

// Get implements [Sessions].
func (s *memorySessions) Get(_ context.Context, key Key) (Binding, bool, error) {
	now := now()
	b, ok := s.table.get(s.keyOf(key, now), now, &s.rules)
	return b, ok, nil
}

// BindIfAbsent implements [Sessions].
func (s *memorySessions) BindIfAbsent(_ context.Context, key Key, b Binding) (Binding, error) {
	at := time.Now()
	now := at.Unix()
	key = s.keyOf(key, now)
	winner, bound := s.table.bind(key, b, at.UnixMilli(), now, &s.rules)
	if bound {
		s.publish(key, winner, now)
	}
	return winner.Binding, nil
}

// Touch implements [Sessions].
func (s *memorySessions) Touch(_ context.Context, key Key, seen int64) error {
	now := now()
	key = s.keyOf(key, now)
	if touched, changed := s.table.touch(key, seen, now, &s.rules); changed {
		s.publish(key, touched, now)
	}
	return nil
}

// Move implements [Sessions].
func (s *memorySessions) Move(_ context.Context, key Key, from ID, to Binding) (Binding, error) {
	at := time.Now()
	now := at.Unix()
	key = s.keyOf(key, now)
	winner, moved := s.table.move(key, from, to, at.UnixMilli(), now, &s.rules)
	if moved {
		s.publish(key, winner, now)
	}
	return winner.Binding, nil
}

// Forget implements [Sessions]. The other instances forget a backend when it is removed there.
func (s *memorySessions) Forget(_ context.Context, backend ID) error {
	s.table.forget(backend, s.replica != nil)
	return nil
}

// Local implements [Local].
func (s *memorySessions) Local() {}

// Count implements [Counter].
func (s *memorySessions) Count(backend ID) int {
	s.table.expire(now(), &s.rules)
	return s.table.count(backend)
}

// Stats implements [Counter].
func (s *memorySessions) Stats() Stats {
	c := s.table.counters()
	return Stats{Entries: &c.entries, Hits: &c.hits, Misses: &c.misses, Expired: &c.expiries, Evicted: &c.evictions}
}

// Table implements [Counter].
func (s *memorySessions) Table() any { return s.table }

// Close implements [Sessions].
func (s *memorySessions) Close() error {
	s.closed.Do(s.leave)
	s.refs.Release()
	return nil
}

// Interface guards
var (
	_ Local   = (*memorySessions)(nil)
	_ Counter = (*memorySessions)(nil)
)
