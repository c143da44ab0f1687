// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

func init() { caddy.RegisterModule(new(Memory)) }

// Memory keeps sessions in the memory of this process. They survive a reload, also a rejected
// one, while the pool keeps its name and the policy its kind of session id. They end with the
// process, unless the global option has a fleet: then each instance has the sessions of all, for
// pools with a name. They begin anew when a reload adds or removes the fleet.
type Memory struct {
	// MaxEntries is the maximum number of sessions, from 1024 to 100,000,000. Each takes about
	// 80 bytes. Beyond the maximum, the sessions that were idle for longest are removed. The
	// table has 64 shards, each with its share of the maximum. Default: 1,000,000.
	MaxEntries int `json:"max_entries,omitempty"`

	fleet *fleet.Fleet // set by Provision; nil for none
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
func (m *Memory) Provision(ctx caddy.Context) error {
	if m.MaxEntries == 0 {
		m.MaxEntries = defaultMaxEntries
	}
	if err := entryCounts.Check("max_entries", m.MaxEntries); err != nil {
		return err
	}
	m.fleet = fleet.Of(ctx)
	return nil
}

// Open implements [Store].
func (m *Memory) Open(scope string, l Lifetimes) (Sessions, error) {
	return openMemory(networkOf(m.fleet), scope, rules{l, m.MaxEntries}), nil
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
)
