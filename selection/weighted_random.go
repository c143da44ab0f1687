// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	weakrand "math/rand/v2"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(WeightedRandom)) }

// WeightedRandom picks at random, in proportion to the weights. Use it instead of wrr if many
// proxies share the backends and must not be synchronized, and instead of Caddy's random if
// weights differ.
type WeightedRandom struct{ Adapter }

// CaddyModule returns the Caddy module information.
func (*WeightedRandom) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "weighted_random", New: func() caddy.Module { return new(WeightedRandom) }}
}

// Provision sets up the policy.
func (p *WeightedRandom) Provision(ctx caddy.Context) error {
	return p.provision(ctx, "weighted_random", p)
}

func (*WeightedRandom) prepare(g group) picker {
	return &weightedRandomPicker{newAlias(g.weights)}
}

type weightedRandomPicker struct{ *alias }

// maxDraws bounds how often a pick draws again after an unusable backend before it scans all
// candidates. With half of them unusable, that is one pick in 65,536.
const maxDraws = 16

func (l *weightedRandomPicker) pick(c candidates, _ *http.Request) int {
	for range maxDraws {
		if i := l.draw(); c.usable(i) {
			return i
		}
	}
	// Drawing until a candidate is usable is the same as drawing among the usable ones; so is
	// this, in one pass.
	best, sum := -1, 0.0
	for i := range c.len() {
		if c.usable(i) {
			sum += c.weights[i]
			if weakrand.Float64()*sum < c.weights[i] {
				best = i
			}
		}
	}
	return best
}

func (l *weightedRandomPicker) peek() picker { return l }

// score implements [picker]: the share of the backend.
func (l *weightedRandomPicker) score(c *candidates, i int, _ *http.Request) map[string]float64 {
	sum := 0.0
	for _, w := range c.weights {
		sum += w
	}
	return map[string]float64{"share": c.weights[i] / sum}
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy weighted_random {
//		weights <n...>   # on a plain upstream list, by position
//	}
func (p *WeightedRandom) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume policy name
	return p.unmarshal(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*WeightedRandom)(nil)
	_ reverseproxy.Selector = (*WeightedRandom)(nil)
	_ caddyfile.Unmarshaler = (*WeightedRandom)(nil)
	_ algorithm             = (*WeightedRandom)(nil)
)
