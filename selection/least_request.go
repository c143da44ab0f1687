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

func init() { caddy.RegisterModule(new(LeastRequest)) }

// LeastRequest picks the backend with the fewest requests in flight for its
// weight, of all. Ties go by weight at random, so that an idle pool serves by
// weight. For pools of up to some hundreds it balances best; in larger ones
// prefer p2c, since a pick looks at every backend unless it finds an idle one
// at once.
type LeastRequest struct{ Adapter }

// CaddyModule returns the Caddy module information.
func (*LeastRequest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "least_request", New: func() caddy.Module { return new(LeastRequest) }}
}

// Provision sets up the policy.
func (p *LeastRequest) Provision(ctx caddy.Context) error {
	return p.provision(ctx, "least_request", p)
}

func (*LeastRequest) prepare(g group) picker { return &least{newAlias(g.weights)} }

type least struct{ *alias }

// idleDraws is how many backends to draw in the hope of an idle one, which
// nothing can beat.
const idleDraws = 4

func (l *least) pick(c candidates, _ *http.Request) int {
	for range idleDraws {
		if i := l.draw(); c.usable(i) && c.load(i) == 0 {
			return i
		}
	}
	return leastOf(c)
}

// leastOf returns the usable candidate with the least load for its weight, one
// of them by weight at random if there are several, or -1.
func leastOf(c candidates) int {
	// A view has only eligible backends: see LeastTime.
	if c.list == nil {
		if i := scanLoads(&c, false); i >= 0 && c.usable(i) {
			return i
		}
	}
	return scanLoads(&c, true)
}

func scanLoads(c *candidates, ask bool) int {
	best, ties := -1, 0.0
	var load, weight float64 // of the best
	for i := range c.len() {
		if ask && !c.usable(i) {
			continue
		}
		n, w := c.load(i), c.weights[i]
		switch mine, least := n*weight, load*w; { // n/w < load/weight without dividing
		case best < 0 || mine < least:
			best, load, weight, ties = i, n, w, w
		case mine == least:
			ties += w
			if weakrand.Float64()*ties < w {
				best, load, weight = i, n, w
			}
		}
	}
	return best
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy least_request {
//		weights <n...>   # on a plain upstream list, by position
//	}
func (p *LeastRequest) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume policy name
	return p.unmarshal(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LeastRequest)(nil)
	_ reverseproxy.Selector = (*LeastRequest)(nil)
	_ caddyfile.Unmarshaler = (*LeastRequest)(nil)
	_ algorithm             = (*LeastRequest)(nil)
)
