// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

func init() { caddy.RegisterModule(new(Vegas)) }

// Vegas derives the limit from an estimate of the requests that wait at the backends, and keeps a
// few waiting. Latency is lower than with gradient, and bursts have more refusals. A request counts
// as in flight, and its latency is measured, until its response header.
type Vegas struct{ Bounds }

// CaddyModule returns the Caddy module information.
func (*Vegas) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + ".vegas", New: func() caddy.Module { return new(Vegas) }}
}

func (v *Vegas) limits(c *admission.Config) error {
	bounds, err := v.bounds()
	c.Rule = admission.Vegas{Bounds: bounds}
	return err
}

// Interface guard
var _ builtIn = (*Vegas)(nil)
