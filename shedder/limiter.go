// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// namespace is the module namespace of limiters.
const namespace = "ballast.limiters"

// builtIn is a limiter of this package.
type builtIn interface {
	caddy.Module
	// limits completes the configuration of a gate, or reports an invalid option.
	limits(c *admission.Config) error
}

// maxLimit is the highest limit.
const maxLimit = 1_000_000

// limits bounds limits and queues.
var limits = caddyfileutil.Ints{Min: 1, Max: maxLimit}

// Bounds are the bounds of an adaptive limit.
type Bounds struct {
	// InitialLimit is the limit at the start, from MinLimit to MaxLimit. Default: 64.
	InitialLimit int `json:"initial_limit,omitempty"`
	// MinLimit is the lowest limit, at least 1. Default: 1.
	MinLimit int `json:"min_limit,omitempty"`
	// MaxLimit is the highest limit, at most 1,000,000. Default: 1000.
	MaxLimit int `json:"max_limit,omitempty"`
}

const (
	defaultInitial = 64
	defaultMin     = 1
	defaultMax     = 1000
)

// bounds validates the bounds and returns them with their defaults.
func (b Bounds) bounds() (admission.Bounds, error) {
	low, high, start := b.MinLimit, b.MaxLimit, b.InitialLimit
	if low == 0 {
		low = defaultMin
	}
	if high == 0 {
		high = max(defaultMax, low)
	}
	if start == 0 {
		start = min(max(defaultInitial, low), high)
	}
	for _, l := range []struct {
		name string
		n    int
	}{{"min_limit", low}, {"max_limit", high}, {"initial_limit", start}} {
		if err := limits.Check(l.name, l.n); err != nil {
			return admission.Bounds{}, err
		}
	}
	switch {
	case low > high:
		return admission.Bounds{}, fmt.Errorf("min_limit must not be above max_limit, got %d and %d", low, high)
	case start < low || start > high:
		return admission.Bounds{}, fmt.Errorf("initial_limit must be from min_limit to max_limit, %d to %d, got %d", low, high, start)
	}
	return admission.Bounds{Start: float64(start), Min: float64(low), Max: float64(high)}, nil
}
