// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

func init() { caddy.RegisterModule(new(RingHash)) }

// RingHash is consistent hashing on a ring (Karger et al. 1997), in the form of Envoy and gRPC,
// with weights. When one of n backends leaves, only its keys move, to the next backends on the
// ring. When one joins, only the keys that it takes move. If a backend is not usable, the next
// one on the ring takes its keys.
//
// The evenness of the shares depends on the density of the ring: the share of a backend with p
// points is off by about 1/sqrt(p). With the default, that is 1.6 % for a weight of 1. The ring
// has at most 524,288 points, 10 MB. If the weights add up to more than that allows, 128 by
// default, each backend has fewer points, shares are less even, and about 2/n of the keys move.
// Then use rendezvous or maglev.
type RingHash struct {
	// MinRing is the number of points on the ring for each 1 of a backend's weight, and so the
	// minimum number of points in total. From 1 to 8388608. More points make shares more even,
	// and changes more expensive. Default: 4096.
	MinRing int `json:"min_ring,omitempty"`

	Hashing
}

// CaddyModule returns the Caddy module information.
func (*RingHash) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "ring_hash", New: func() caddy.Module { return new(RingHash) }}
}

const defaultMinRing = 4096

// minRings bounds min_ring.
var minRings = caddyfileutil.Ints{Min: 1, Max: 8 << 20}

// Provision sets up the policy.
func (p *RingHash) Provision(ctx caddy.Context) error {
	if p.MinRing == 0 {
		p.MinRing = defaultMinRing
	}
	if err := minRings.Check("min_ring", p.MinRing); err != nil {
		return err
	}
	return p.provision(ctx, "ring_hash", p)
}

func (p *RingHash) prepare(g group) picker {
	return p.picker(g, func(all []member) hashTable { return newRing(all, p.MinRing) })
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy ring_hash <key> {
//		min_ring <n>
//		bounded_load <factor>
//		on_full spill|wait
//		fallback <policy> [<args>] [{ ... }]
//		weights <n...>   # on a plain upstream list, by position
//	}
//
// The key is client_ip, uri, path, host, header <field>, query <name>,
// cookie <name>, or a text with placeholders.
func (p *RingHash) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return p.unmarshal(d, caddyfileutil.Options{"min_ring": minRings.Option(&p.MinRing)}.Hint(map[string]string{
		"minimum_ring_size": "write `min_ring <n>`, of points for each 1 of weight",
	}))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*RingHash)(nil)
	_ reverseproxy.Selector = (*RingHash)(nil)
	_ caddyfile.Unmarshaler = (*RingHash)(nil)
	_ algorithm             = (*RingHash)(nil)
)
