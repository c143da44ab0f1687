// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

func init() { caddy.RegisterModule(new(Store)) }

// Store keeps the records of a fleet in Redis (6.2 or later) or Valkey: on one server, on the primary that
// Redis Sentinel reports, or in a Redis Cluster.
type Store struct {
	Server
	// MaxRecords is the approximate maximum number of records in Redis, from 1,000 to 100,000,000. A
	// session takes about 150 bytes there. Beyond the maximum, records that expire soon are removed from
	// Redis; the instances keep theirs. Default: 1,000,000.
	MaxRecords int `json:"max_records,omitempty"`
}

const defaultMaxRecords = 1_000_000

var recordCounts = caddyfileutil.Ints{Min: 1000, Max: 100_000_000}

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.fleet.redis", New: func() caddy.Module { return new(Store) }}
}

// Provision sets up the store.
func (s *Store) Provision(caddy.Context) error {
	if s.MaxRecords == 0 {
		s.MaxRecords = defaultMaxRecords
	}
	if err := recordCounts.Check("max_records", s.MaxRecords); err != nil {
		return err
	}
	if err := s.Server.provision(); err != nil {
		return err
	}
	_, err := s.resolved.TLS.config()
	return err
}

// Open implements [fleet.Store].
func (s *Store) Open() (fleet.Conn, error) {
	secure, err := s.resolved.TLS.config()
	if err != nil {
		return nil, err
	}
	return &conn{
		writing: s.resolved.open(secure), reading: s.resolved.open(secure), keys: keysOf(s.resolved.Prefix),
		timeout: time.Duration(s.Timeout), records: s.MaxRecords,
	}, nil
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store redis [<address>] {
//		address           <host:port...>
//		sentinel          <name> <host:port...>
//		sentinel_username <name>
//		sentinel_password <text>
//		cluster           <host:port...>
//		username          <name>
//		password          <text>
//		password_file     <path>
//		db                <n>
//		prefix            <text>
//		timeout           <duration>
//		max_records       <n>
//		tls {
//			ca                   <file>
//			certificate          <file> <key>
//			server_name          <name>
//			insecure_skip_verify
//		}
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	options := s.Server.options()
	options["max_records"] = recordCounts.Option(&s.MaxRecords)
	return s.Server.unmarshal(d, options)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Store)(nil)
	_ caddyfile.Unmarshaler = (*Store)(nil)
	_ fleet.Store           = (*Store)(nil)
)
