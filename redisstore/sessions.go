// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
	"github.com/ballast-lb/caddy-ballast/sticky"
)

func init() { caddy.RegisterModule(new(Sessions)) }

// Sessions keeps the sessions of a sticky policy in the memory of each instance, and replicates them between
// instances through Redis or Valkey. It is not needed with the global option fleet, which replicates the
// sessions in memory.
type Sessions struct {
	Server
	// MaxEntries is the maximum number of sessions in the memory of this instance, from 1024 to
	// 100,000,000, and the approximate maximum in Redis. Default: 1,000,000.
	MaxEntries int `json:"max_entries,omitempty"`

	refs     shared.Refs
	instance *fleet.Fleet
	user     *fleet.User
	timer    *time.Timer // begins the replication if no request does

	mu    sync.Mutex // guards state
	state sessionsState
}

// sessionsState is the state of the replication of one configuration.
type sessionsState int

const (
	sessionsIdle sessionsState = iota
	sessionsBegun
	sessionsEnded
)

const (
	// sessionsPrefix differs from the default prefix of a fleet's store, so that keys do not collide.
	sessionsPrefix    = "ballast-sessions"
	defaultMaxEntries = 1_000_000
	// beginAfter is the time after which the replication begins without a request. A configuration that
	// is only validated is cleaned up before.
	beginAfter = time.Second
)

var entryCounts = caddyfileutil.Ints{Min: 1024, Max: 100_000_000}

// CaddyModule returns the Caddy module information.
func (*Sessions) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.sessions.redis", New: func() caddy.Module { return new(Sessions) }}
}

// Provision sets up the store.
func (s *Sessions) Provision(ctx caddy.Context) error {
	s.Prefix = cmp.Or(s.Prefix, sessionsPrefix)
	s.MaxEntries = cmp.Or(s.MaxEntries, defaultMaxEntries)
	if err := entryCounts.Check("max_entries", s.MaxEntries); err != nil {
		return err
	}
	store := &Store{Server: s.Server, MaxRecords: s.MaxEntries}
	if err := store.Provision(ctx); err != nil {
		return err
	}
	identity, err := json.Marshal(store)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	_, version := caddy.Version()
	s.instance = fleet.Open(&s.refs, cmp.Or(host, "caddy"), "sessions redis "+string(identity))
	s.user = &fleet.User{Store: store, Version: version, Logger: ctx.Logger()}
	s.timer = time.AfterFunc(beginAfter, s.begin)
	return nil
}

// begin begins the replication, unless it has begun or the configuration was cleaned up.
func (s *Sessions) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == sessionsIdle {
		s.state = sessionsBegun
		s.instance.Start(s.user)
	}
}

// Cleanup ends the use of the store by this configuration.
func (s *Sessions) Cleanup() error {
	if s.timer == nil {
		return nil
	}
	s.timer.Stop()
	s.mu.Lock()
	begun := s.state == sessionsBegun
	s.state = sessionsEnded
	s.mu.Unlock()
	if begun {
		s.instance.Stop(s.user)
	}
	s.refs.Release()
	return nil
}

// Open implements [sticky.Store].
func (s *Sessions) Open(scope string, l sticky.Lifetimes) (sticky.Sessions, error) {
	r := sticky.Replicated(s.instance, scope, l, s.MaxEntries)
	return &sessions{replicatedSessions: r.(replicatedSessions), store: s}, nil
}

// replicatedSessions is what [sticky.Replicated] returns.
type replicatedSessions interface {
	sticky.Local
	sticky.Counter
}

// sessions are the sessions of a scope. The first lookup begins the replication.
type sessions struct {
	replicatedSessions
	store *Sessions
	once  sync.Once
}

// Get implements [sticky.Sessions].
func (s *sessions) Get(ctx context.Context, key sticky.Key) (sticky.Binding, bool, error) {
	s.once.Do(s.store.begin)
	return s.replicatedSessions.Get(ctx, key)
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store redis [<address>] {
//		max_entries <n>
//		# and all options of the fleet's store but max_records
//	}
func (s *Sessions) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	options := s.Server.options()
	options["max_entries"] = entryCounts.Option(&s.MaxEntries)
	return s.Server.unmarshal(d, options)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Sessions)(nil)
	_ caddy.CleanerUpper    = (*Sessions)(nil)
	_ caddyfile.Unmarshaler = (*Sessions)(nil)
	_ sticky.Store          = (*Sessions)(nil)
	_ replicatedSessions    = (*sessions)(nil)
)
