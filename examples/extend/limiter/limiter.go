// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package targetlimiter is a limiter for shed from outside its repository: as many requests
// are let in as are answered within a target.
package targetlimiter

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/shedder"
)

func init() { caddy.RegisterModule(new(Target)) }

// Target raises the limit while answers take less than a target on average, and lowers it
// by a tenth when they take longer, or are refused.
type Target struct {
	// Latency is the target. Default: 100ms.
	Latency caddy.Duration `json:"latency,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Target) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.limiters.target", New: func() caddy.Module { return new(Target) }}
}

// Provision sets up the limiter.
func (l *Target) Provision(caddy.Context) error {
	if l.Latency < 0 {
		return errors.New("latency must be above 0")
	}
	if l.Latency == 0 {
		l.Latency = caddy.Duration(100 * time.Millisecond)
	}
	return nil
}

// UnmarshalCaddyfile sets up the limiter from Caddyfile tokens. Syntax:
//
//	algorithm target [<latency>]
func (l *Target) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the limiter
	if d.NextArg() {
		latency, err := caddy.ParseDuration(d.Val())
		if err != nil || latency <= 0 {
			return d.Errf("latency must be a duration such as 100ms, got %q", d.Val())
		}
		l.Latency = caddy.Duration(latency)
	}
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("unexpected %q; write algorithm target [<latency>]", d.Val())
	}
	return nil
}

// NewAlgorithm implements [shedder.Limiter].
func (l *Target) NewAlgorithm() shedder.Algorithm {
	return &algorithm{target: time.Duration(l.Latency)}
}

// algorithm finds the limit of one handler, or of one key.
type algorithm struct{ target time.Duration }

// Start implements [shedder.Algorithm].
func (*algorithm) Start() float64 { return 20 }

// Next implements [shedder.Algorithm].
func (a *algorithm) Next(w shedder.Window) (float64, shedder.Reason) {
	switch {
	case w.Drops > 0:
		return 0.9 * w.Limit, shedder.ReasonDrops
	case w.Answers == 0 || w.Refused == 0 && w.InFlight < int(w.Limit)/2:
		return w.Limit, shedder.ReasonIdle // nothing shows what the limit is good for
	case w.Latency > a.target:
		return 0.9 * w.Limit, shedder.ReasonSlow
	}
	return w.Limit + 1 + w.Limit/50, shedder.ReasonCalm
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Target)(nil)
	_ caddyfile.Unmarshaler = (*Target)(nil)
	_ shedder.Limiter       = (*Target)(nil)
)
