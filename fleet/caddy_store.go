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

// CaddyStore is a store for small fleets. It uses the storage in which Caddy keeps its certificates, and which the
// instances must share: a network file system, or one of Caddy's storage modules. Each instance writes its changes to
// its own files, and reads the files of the others at an interval, so changes are delayed by up to that. For each
// instance the store holds up to 20,000 records and 8 MiB. Beyond that it drops the sessions that expire soonest, and
// logs a warning.
type CaddyStore struct {
	// Prefix is the folder in the storage: letters, digits and the characters ._-/, at most 200 bytes.
	// Fleets that share a storage need different prefixes. Default: ballast/fleet.
	Prefix string `json:"prefix,omitempty"`
	// Poll is the interval at which the files of other instances are read, from 1s to 1m. A shorter
	// heartbeat is raised to it. Default: 5s.
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

// Identity implements [Identified], since equal configurations of the store may use different storages.
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
