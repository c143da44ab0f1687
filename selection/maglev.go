// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(Maglev)) }

// Maglev is the consistent hashing of Google's load balancer (Eisenbud et al. 2016), with
// weights. Shares are within 1 % of the weights: each backend has its part of 65,537 slots, or
// of 655,373 with more than 650 backends. A pick reads one slot.
//
// When one of n backends leaves or joins, about 2/n of the keys move, twice as many as with
// rendezvous. All keys move when the number of backends that can serve rises above 650 or falls
// back to it.
type Maglev struct{ Hashing }

// CaddyModule returns the Caddy module information.
func (*Maglev) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "maglev", New: func() caddy.Module { return new(Maglev) }}
}

// Provision sets up the policy.
func (p *Maglev) Provision(ctx caddy.Context) error { return p.provision(ctx, "maglev", p) }

func (p *Maglev) prepare(g group) picker {
	return p.picker(g, func(all []member) hashTable { return newMaglev(all, maglevSizeFor(len(all))) })
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy maglev <key> {
//		bounded_load <factor>
//		on_full spill|wait
//		fallback <policy> [<args>] [{ ... }]
//		weights <n...>   # on a plain upstream list, by position
//	}
//
// The key is client_ip, uri, path, host, header <field>, query <name>,
// cookie <name>, or a text with placeholders.
func (p *Maglev) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return p.unmarshal(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Maglev)(nil)
	_ reverseproxy.Selector = (*Maglev)(nil)
	_ caddyfile.Unmarshaler = (*Maglev)(nil)
	_ algorithm             = (*Maglev)(nil)
)
