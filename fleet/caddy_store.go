// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"regexp"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/names"
)

func init() { caddy.RegisterModule(new(CaddyStore)) }

// CaddyStore is a store for small fleets, on the storage that Caddy keeps its certificates in,
// which the instances must share: a network file system, or one of Caddy's storage modules. Each
// instance keeps what it has changed in files of its own, and reads those of the others at an
// interval, so that a change takes that long to be known. The store is bounded: of each instance
// it holds 20,000 records in 8 MiB. Beyond that it drops the sessions that end soonest, and the
// log says so.
type CaddyStore struct {
	// Prefix is the folder in the storage, of letters, digits and the characters ._-/. Fleets with
	// one storage need different ones. Default: ballast/fleet.
	Prefix string `json:"prefix,omitempty"`
	// Poll is the interval at which the files of other instances are read, from 1s to 1m. The
	// heartbeat is at least as long. Default: 5s.
	Poll caddy.Duration `json:"poll,omitempty"`

	storage certmagic.Storage // set by Provision, then read-only
}

const (
	defaultPrefix = "ballast/fleet"
	defaultPoll   = 5 * time.Second
)

var polls = caddyfileutil.Durations{Min: time.Second, Max: time.Minute}

// CaddyModule returns the Caddy module information.
func (*CaddyStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".caddy", New: func() caddy.Module { return new(CaddyStore) }}
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (s *CaddyStore) UnmarshalJSON(data []byte) error {
	type plain CaddyStore
	return httpx.DecodeModule(data, (*plain)(s))
}

// Provision sets up the store.
func (s *CaddyStore) Provision(ctx caddy.Context) error {
	if err := s.checkPrefix(); err != nil {
		return err
	}
	if err := polls.Check("poll", s.Poll); err != nil {
		return err
	}
	if s.Prefix == "" {
		s.Prefix = defaultPrefix
	}
	if s.Poll == 0 {
		s.Poll = caddy.Duration(defaultPoll)
	}
	s.storage = ctx.Storage()
	return nil
}

var prefixes = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)

func (s *CaddyStore) checkPrefix() error {
	if s.Prefix != "" && (len(s.Prefix) > 200 || !prefixes.MatchString(s.Prefix) || names.Dotted(s.Prefix)) {
		return fmt.Errorf("prefix must be a path of letters, digits and ._- such as ballast/eu, in at most 200 bytes, got %q", s.Prefix)
	}
	return nil
}

// Pace implements [Paced].
func (s *CaddyStore) Pace() time.Duration { return time.Duration(s.Poll) }

// Identity implements [Identified]: the storage may be another with the same configuration.
func (s *CaddyStore) Identity() string {
	if text, ok := s.storage.(fmt.Stringer); ok {
		return text.String()
	}
	return fmt.Sprintf("%T", s.storage)
}

// Open implements [Store].
func (s *CaddyStore) Open() (fleet.Conn, error) {
	return newCaddyConn(s.storage, s.Prefix, time.Duration(s.Poll)), nil
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store caddy {
//		prefix <path>
//		poll   <duration>
//	}
func (s *CaddyStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d)
	return caddyfileutil.Block(d, caddyfileutil.Options{
		"prefix": caddyfileutil.Valid(caddyfileutil.String(&s.Prefix), s.checkPrefix),
		"poll":   polls.Option(&s.Poll),
	}.Hint(map[string]string{"interval": "write `poll <duration>`", "path": "write `prefix <path>`"}))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*CaddyStore)(nil)
	_ caddyfile.Unmarshaler = (*CaddyStore)(nil)
	_ fleet.Store           = (*CaddyStore)(nil)
	_ fleet.Paced           = (*CaddyStore)(nil)
	_ Identified            = (*CaddyStore)(nil)
)
