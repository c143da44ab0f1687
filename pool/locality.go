// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/locality"
)

// Locality keeps requests in the zone of this instance, for lower latency and cost.
type Locality struct {
	// Mode is prefer: backends in the zone get 97 % of the requests while their utilization exceeds that
	// of the other backends by at most Margin. Beyond that, each side gets a share in proportion to its
	// unused capacity. Default: prefer.
	Mode string `json:"mode,omitempty"`
	// Margin is by how much the utilization of the backends in the zone may exceed that of the others,
	// from 0 to 1. Default: 0.1.
	Margin *float64 `json:"margin,omitempty"`
}

const (
	localityPrefer = "prefer"
	defaultMargin  = 0.1
)

// rules returns the rules of a pool, without the zone, or an error if a setting is invalid.
func (l *Locality) rules() (*locality.Preference, error) {
	if l == nil {
		return nil, nil //nolint:nilnil // nil is no locality
	}
	if l.Mode != "" && l.Mode != localityPrefer {
		return nil, fmt.Errorf("locality must be prefer, got %q", l.Mode)
	}
	r := &locality.Preference{Margin: defaultMargin}
	if l.Margin != nil {
		r.Margin = *l.Margin
	}
	return r, caddyfileutil.AnyRatio.Check("locality's margin", r.Margin)
}

// parseLocality parses the mode, and the margin if there is one.
func (c *Config) parseLocality(args []string) (err error) {
	c.Locality = &Locality{Mode: args[0]}
	if len(args) == 1 {
		return nil
	}
	margin, err := caddyfileutil.AnyRatio.Parse("locality's margin", args[1])
	c.Locality.Margin = &margin
	return err
}

// setZone sets the zone of this instance in the rules, or returns an error if there is none.
func (a *App) setZone(r *locality.Preference) error {
	switch {
	case r == nil:
	case a.FleetConfig == nil:
		return errors.New("locality needs the zone of this instance; write `fleet { ... }` with `zone <name>` and a store in the ballast global option")
	case a.FleetConfig.Zone == "":
		return errors.New("locality needs the zone of this instance; write `zone <name>` in `fleet` in the ballast global option")
	default:
		r.Zone = a.FleetConfig.Zone
	}
	return nil
}
