// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

func init() { caddy.RegisterModule(new(P2C)) }

// P2C, power of two choices, samples two backends and picks the one with fewer requests in
// flight relative to its weight (Mitzenmacher 2001). It balances nearly as well as
// least_request at a cost that does not grow with the pool, and does not send all requests to a
// single backend that looks idle. A pool without lb_policy uses it.
//
// Samples are drawn in proportion to the weights, and the first wins a tie, so that an idle
// pool serves by weight. With equal weights, each backend in turn is the first sample, and the
// others are random.
type P2C struct {
	// Choices is the number of backends to sample, from 2 to 100. More choices come closer to
	// least_request. Default: 2.
	Choices int `json:"choices,omitempty"`

	Adapter
}

// CaddyModule returns the Caddy module information.
func (*P2C) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "p2c", New: func() caddy.Module { return new(P2C) }}
}

const maxChoices = 100

// choiceCounts bounds choices.
var choiceCounts = caddyfileutil.Ints{Min: 2, Max: maxChoices}

// Provision sets up the policy.
func (p *P2C) Provision(ctx caddy.Context) error {
	if p.Choices == 0 {
		p.Choices = 2
	}
	if err := choiceCounts.Check("choices", p.Choices); err != nil {
		return err
	}
	return p.provision(ctx, "p2c", p)
}

func (p *P2C) prepare(g group) picker {
	return &p2cPicker{newSampler(g.weights, p.Choices)}
}

type p2cPicker struct{ sampler }

func (s *p2cPicker) pick(c candidates, _ *http.Request) int {
	from := s.first(&c)
	best := s.best(&c, from)
	if from.drawn && !c.usable(best) {
		best = s.best(&c, samples{})
	}
	if best < 0 {
		return leastOf(c, s.draw()) // almost no backend is usable: look at all
	}
	return best
}

func (s *p2cPicker) best(c *candidates, from samples) int {
	best := s.get(from, c, 0, -1)
	for k := 1; k < s.n && best >= 0; k++ {
		if i := s.get(from, c, k, best); i >= 0 && c.less(i, best) {
			best = i
		}
	}
	return best
}

func (s *p2cPicker) peek() picker { return &p2cPicker{s.sampler.peek()} }

// score implements [picker]: the load by weight. The lowest wins.
func (s *p2cPicker) score(c *candidates, i int, _ *http.Request) map[string]float64 {
	return loadScore(c, i)
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy p2c [<choices>] {
//		weights <n...>   # on a plain upstream list, by position
//	}
func (p *P2C) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	var n string
	caddyfileutil.Head(d, &n)
	if n != "" {
		var err error
		if p.Choices, err = choiceCounts.Parse("choices", n); err != nil {
			return d.WrapErr(err)
		}
	}
	return p.unmarshal(d, caddyfileutil.Options{}.Hint(map[string]string{"choices": "write lb_policy p2c <choices>, without a block"}))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*P2C)(nil)
	_ reverseproxy.Selector = (*P2C)(nil)
	_ caddyfile.Unmarshaler = (*P2C)(nil)
	_ algorithm             = (*P2C)(nil)
)
