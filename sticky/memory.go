// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

func init() { caddy.RegisterModule(new(Memory)) }

// Memory keeps sessions in the memory of this process. They survive a reload, also a rejected
// one, while the pool keeps its name and the policy its kind of session id. They end with the
// process.
type Memory struct {
	// MaxEntries is the maximum number of sessions, from 1024 to 100,000,000. Each takes about
	// 70 bytes. Beyond the maximum, the sessions that were idle for longest are removed. The
	// table has 64 shards, each with its share of the maximum. Default: 1,000,000.
	MaxEntries int `json:"max_entries,omitempty"`
}

const (
	defaultMaxEntries = 1_000_000
)

// entryCounts bounds max_entries.
var entryCounts = caddyfileutil.Ints{Min: 1024, Max: 100_000_000}

// CaddyModule returns the Caddy module information.
func (*Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.sessions.memory", New: func() caddy.Module { return new(Memory) }}
}

// Provision sets up the store.
func (m *Memory) Provision(caddy.Context) error {
	if m.MaxEntries == 0 {
		m.MaxEntries = defaultMaxEntries
	}
	return entryCounts.Check("max_entries", m.MaxEntries)
}

// tableKey is the key of a shared table.
type tableKey struct{ scope string }

// Open implements [Store].
func (m *Memory) Open(scope string, l Lifetimes) (Sessions, error) {
	s := &memorySessions{rules: rules{l, m.MaxEntries}}
	s.table = shared.LoadOrNew(&s.refs, tableKey{scope}, func() *table { return newTable(tableShards) })
	return s, nil
}

// memorySessions are the sessions of a scope with the rules of one configuration. Its methods
// never block and never fail.
type memorySessions struct {
	table *table
	rules rules
	refs  shared.Refs
}

func now() int64 { return time.Now().Unix() }

// Get implements [Sessions].
func (s *memorySessions) Get(_ context.Context, key Key) (Binding, bool, error) {
	b, ok := s.table.get(key, now(), &s.rules)
	return b, ok, nil
}

// BindIfAbsent implements [Sessions].
func (s *memorySessions) BindIfAbsent(_ context.Context, key Key, b Binding) (Binding, error) {
	return s.table.bind(key, b, now(), &s.rules), nil
}

// Touch implements [Sessions].
func (s *memorySessions) Touch(_ context.Context, key Key, seen int64) error {
	s.table.touch(key, seen, now(), &s.rules)
	return nil
}

// Move implements [Sessions].
func (s *memorySessions) Move(_ context.Context, key Key, from ID, to Binding) (Binding, error) {
	return s.table.move(key, from, to, now(), &s.rules), nil
}

// Forget implements [Sessions].
func (s *memorySessions) Forget(_ context.Context, backend ID) error {
	s.table.forget(backend)
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
	s.refs.Release()
	return nil
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store memory [<max_entries>]
func (m *Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	var n string
	caddyfileutil.Head(d, &n)
	if n != "" {
		entries, err := entryCounts.Parse("max_entries", n)
		if err != nil {
			return d.WrapErr(err)
		}
		m.MaxEntries = entries
	}
	return caddyfileutil.Block(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Memory)(nil)
	_ caddyfile.Unmarshaler = (*Memory)(nil)
	_ Store                 = (*Memory)(nil)
	_ Local                 = (*memorySessions)(nil)
	_ Counter               = (*memorySessions)(nil)
)
