// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(Rendezvous)) }

// Rendezvous is hashing by highest random weight (Thaler and Ravishankar 1998), with weights.
// When one of n backends leaves, only its keys move, evenly to all others. When one joins, only
// the keys that it takes move. When a weight changes, only as many keys as necessary move.
// Among the hash policies, this one is the default choice.
//
// Keys are mapped to 262,144 slots. The winner of each slot is computed when the pool changes,
// which takes about 60 ms whatever the size of the pool, and 1 MB. A pick reads one slot.
// Shares vary by about 0.7/sqrt(slots of a backend): by 0.3 % with 5 equal backends, 1.4 % with
// 100 and 4.3 % with 1,000.
type Rendezvous struct{ Hashing }

// CaddyModule returns the Caddy module information.
func (*Rendezvous) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "rendezvous", New: func() caddy.Module { return new(Rendezvous) }}
}

// Provision sets up the policy.
func (p *Rendezvous) Provision(ctx caddy.Context) error { return p.provision(ctx, "rendezvous", p) }

func (p *Rendezvous) prepare(g group) picker {
	return p.picker(g, func(all []member) hashTable { return newRendezvous(all, rendezvousBits) })
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy rendezvous <key> {
//		bounded_load <factor>
//		on_full spill|wait
//		fallback <policy> [<args>] [{ ... }]
//		weights <n...>   # on a plain upstream list, by position
//	}
//
// The key is client_ip, uri, path, host, header <field>, query <name>,
// cookie <name>, or a text with placeholders.
func (p *Rendezvous) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return p.unmarshal(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Rendezvous)(nil)
	_ reverseproxy.Selector = (*Rendezvous)(nil)
	_ caddyfile.Unmarshaler = (*Rendezvous)(nil)
	_ algorithm             = (*Rendezvous)(nil)
)
