// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package nearestpolicy is a selection policy for Ballast from outside its repository:
// backends of the own zone first.
package nearestpolicy

import (
	"errors"
	"math/rand/v2"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/selection"
)

func init() { caddy.RegisterModule(new(Nearest)) }

// Nearest chooses the backend with the least load for its weight: of those in a zone while
// one of them can take the request, and else of all. The zone of a backend is its option
// `zone`.
type Nearest struct {
	selection.Adapter

	// Zone is the zone of this Caddy. Required.
	Zone string `json:"zone"`
}

// CaddyModule returns the Caddy module information.
func (*Nearest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.nearest", New: func() caddy.Module { return new(Nearest) }}
}

// Provision sets up the policy.
func (p *Nearest) Provision(ctx caddy.Context) error {
	if p.Zone == "" {
		return errors.New("nearest needs the zone of this Caddy; write lb_policy nearest <zone>")
	}
	return p.SetUp(ctx, "nearest", p)
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy nearest <zone> {
//		weights <n...>   # on a plain upstream list, by position
//	}
func (p *Nearest) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the policy
	if !d.Args(&p.Zone) {
		return d.Err("the zone is missing; write lb_policy nearest <zone>")
	}
	return p.Options().Parse(d)
}

// Prepare implements [selection.Policy].
func (p *Nearest) Prepare(g selection.Group) selection.Picker {
	made := new(picker)
	for i := range g.Len() {
		if g.Backend(i).Zone == p.Zone {
			made.near = append(made.near, i)
		} else {
			made.far = append(made.far, i)
		}
	}
	return made
}

// picker picks among the backends of a group. Read-only.
type picker struct{ near, far []int }

// Pick implements [selection.Picker].
func (p *picker) Pick(c selection.Candidates, _ *http.Request) int {
	if i := least(&c, p.near); i >= 0 {
		return i
	}
	return least(&c, p.far)
}

// least returns the usable candidate with the least load for its weight, or -1. It begins
// anywhere, so that equal ones all have their share.
func least(c *selection.Candidates, of []int) int {
	if len(of) == 0 {
		return -1
	}
	best, start := -1, rand.IntN(len(of))
	for n := range of {
		i := of[(start+n)%len(of)]
		if c.Usable(i) && (best < 0 || c.Load(i)*c.Weight(best) < c.Load(best)*c.Weight(i)) {
			best = i
		}
	}
	return best
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Nearest)(nil)
	_ caddyfile.Unmarshaler = (*Nearest)(nil)
	_ reverseproxy.Selector = (*Nearest)(nil)
	_ selection.Policy      = (*Nearest)(nil)
)
