// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

func init() { caddy.RegisterModule(new(Exponential)) }

// Exponential refuses requests beyond a limit with a probability that grows with the excess: 1 -
// exp(-slope x (in flight - limit)). Up to the limit it refuses none. A request counts as in flight
// until its response has ended.
type Exponential struct {
	// Limit is the number of requests in flight above which refusals begin, from 1 to 1,000,000.
	// Required.
	Limit int `json:"limit"`
	// Slope is the steepness of the probability, above 0 and at most 100. With 0.3, a quarter
	// is refused at one beyond the limit, and 95 % at ten. Default: 0.3.
	Slope float64 `json:"slope,omitempty"`
}

const (
	defaultSlope = 0.3
	maxSlope     = 100
)

// CaddyModule returns the Caddy module information.
func (*Exponential) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + ".exponential", New: func() caddy.Module { return new(Exponential) }}
}

func (e *Exponential) limits(c *admission.Config) error {
	if err := limits.Check("limit", e.Limit); err != nil {
		return err
	}
	c.Rule, c.Slope = admission.Fixed(e.Limit), e.Slope
	if e.Slope == 0 {
		c.Slope = defaultSlope
	}
	return slopes.Check("slope", c.Slope)
}

// slopes bounds the slope.
var slopes = caddyfileutil.Floats{Max: maxSlope, Above: true, Such: defaultSlope}

// Interface guard
var _ builtIn = (*Exponential)(nil)
