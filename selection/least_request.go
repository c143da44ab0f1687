// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(LeastRequest)) }

// LeastRequest picks, of all backends, the one with the fewest requests in flight relative to its
// weight. Ties go by weight, so that an idle pool serves by weight. It balances best in pools of up
// to a few hundred backends. In larger ones use p2c, since a pick compares every backend unless one
// of its first draws is idle.
type LeastRequest struct{ Adapter }

// CaddyModule returns the Caddy module information.
func (*LeastRequest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "least_request", New: func() caddy.Module { return new(LeastRequest) }}
}

// Provision sets up the policy.
func (p *LeastRequest) Provision(ctx caddy.Context) error {
	return p.provision(ctx, "least_request", p)
}

func (*LeastRequest) prepare(g group) picker {
	return &leastRequestPicker{newAlias(g.weights), inverses(g.weights)}
}

type leastRequestPicker struct {
	*alias
	inverse []float64 // of the weights
}

// idleDraws is the number of backends to draw in search of an idle one, which is always the
// best.
const idleDraws = 4

func (l *leastRequestPicker) pick(c candidates, _ *http.Request) int {
	for range idleDraws {
		if i := l.draw(); c.usable(i) && c.load(i) == 0 {
			return i
		}
	}
	start := l.draw()
	// A view has only eligible backends: see LeastTime.
	if c.list == nil {
		if i := l.scanView(&c, start); c.usable(i) {
			return i
		}
	}
	return leastOf(c, start)
}

// scanView returns the index of the lowest load by weight, the first from start on. It reads
// only the requests in flight, unless a backend is the best so far.
func (l *leastRequestPicker) scanView(c *candidates, start int) int {
	best, least := start, never
	for _, part := range [2][2]int{{start, len(c.states)}, {0, start}} {
		for i := part[0]; i < part[1]; i++ {
			if float64(c.states[i].InFlight())*l.inverse[i] >= least {
				continue
			}
			if load := c.load(i) * l.inverse[i]; load < least {
				best, least = i, load
			}
		}
	}
	return best
}

// leastOf returns the usable candidate with the lowest load by weight, the first from start on
// if there are several, or -1.
func leastOf(c candidates, start int) int {
	best, load, weight := -1, never, 1.0
	for k, i := 0, start; k < c.len(); k, i = k+1, (i+1)%c.len() {
		// n/w < load/weight without dividing
		if n, w := c.load(i), c.weights[i]; n*weight < load*w && c.usable(i) {
			best, load, weight = i, n, w
		}
	}
	return best
}

func (l *leastRequestPicker) peek() picker { return l }

// score implements [picker]: the load by weight. The lowest wins.
func (l *leastRequestPicker) score(c *candidates, i int, _ *http.Request) map[string]float64 {
	return loadScore(c, i)
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
