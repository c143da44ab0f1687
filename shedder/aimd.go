// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

func init() { caddy.RegisterModule(new(AIMD)) }

// AIMD raises the limit until requests fail for lack of capacity: backends answer with status 503
// or too late, or clients give up. Then it lowers the limit by a tenth. Use it for backends that
// refuse excess requests; in other backends, it builds up long queues. A request counts as in
// flight until its response header.
type AIMD struct {
	Bounds
	// Latency is the highest mean latency. Default: 1s.
	Latency caddy.Duration `json:"latency,omitempty"`
}

const defaultLatency = time.Second

// latencies bounds the latency option.
var latencies = caddyfileutil.Durations{Min: 100 * time.Microsecond, Max: caddyfileutil.Year}

// CaddyModule returns the Caddy module information.
func (*AIMD) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + ".aimd", New: func() caddy.Module { return new(AIMD) }}
}

func (a *AIMD) limits(c *admission.Config) error {
	bounds, err := a.bounds()
	if err != nil {
		return err
	}
	if err := latencies.Check("latency", a.Latency); err != nil {
		return err
	}
	rule := admission.AIMD{Bounds: bounds, Timeout: time.Duration(a.Latency)}
	if rule.Timeout == 0 {
		rule.Timeout = defaultLatency
	}
	c.Rule = rule
	return nil
}

// Interface guard
var _ builtIn = (*AIMD)(nil)
