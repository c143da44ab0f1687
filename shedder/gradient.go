// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

func init() { caddy.RegisterModule(new(Gradient)) }

// Gradient derives the limit from the latency relative to the latency without load. It tolerates
// some extra latency, so that the backends are always busy. A request counts as in flight, and its
// latency is measured, until its response header, not while the body streams. It is the default of
// shed.
type Gradient struct {
	Bounds
	// Tolerance is the tolerated latency relative to the latency without load, above 1 and at
	// most 10. Default: 1.5.
	Tolerance float64 `json:"tolerance,omitempty"`
}

const (
	defaultTolerance = 1.5
	maxTolerance     = 10
)

// CaddyModule returns the Caddy module information.
func (*Gradient) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + ".gradient", New: func() caddy.Module { return new(Gradient) }}
}

func (g *Gradient) limits(c *admission.Config) error {
	bounds, err := g.bounds()
	if err != nil {
		return err
	}
	rule := admission.Gradient{Bounds: bounds, Tolerance: g.Tolerance}
	if rule.Tolerance == 0 {
		rule.Tolerance = defaultTolerance
	}
	c.Rule = rule
	return tolerances.Check("tolerance", rule.Tolerance)
}

// tolerances bounds the tolerance.
var tolerances = caddyfileutil.Floats{Min: 1, Max: maxTolerance, Above: true, Such: defaultTolerance}

// Interface guard
var _ builtIn = (*Gradient)(nil)
