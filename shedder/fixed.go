// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

func init() { caddy.RegisterModule(new(Fixed)) }

// Fixed is a constant limit of the requests in flight. A request counts as in flight until its
// response has ended, and an upgraded connection until it is closed.
type Fixed struct {
	// Limit is the maximum number of requests in flight, from 1 to 1,000,000. Required.
	Limit int `json:"limit"`
	// Fleet divides Limit among the living instances of the fleet, so that together they do not
	// exceed it. An instance whose share is 0 admits nothing. It needs `fleet` in the ballast
	// global option. With per, the limit of each key is divided, so it should be at least the
	// number of instances. Default: false, so each instance applies the whole limit.
	Fleet bool `json:"fleet,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Fixed) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + ".fixed", New: func() caddy.Module { return new(Fixed) }}
}

func (f *Fixed) limits(c *admission.Config) error {
	if err := limits.Check("limit", f.Limit); err != nil {
		return err
	}
	c.Rule = admission.Fixed(f.Limit)
	if f.Fleet {
		c.Rule = fleetRule{admission.Fixed(f.Limit)}
	}
	return nil
}

// Interface guard
var _ builtIn = (*Fixed)(nil)
