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

func init() { caddy.RegisterModule(new(WRR)) }

// WRR is weighted round robin: backends take turns, each as often as its
// weight says, spread evenly. Any whole cycle, also one that requests run
// through in parallel, gives each backend exactly its share; when a backend
// goes down the others keep their proportions. With equal weights it is plain
// round robin. Retries take turns of their own.
//
// Unlike Caddy's weighted_round_robin it does not send a backend's requests in
// a row, and weights stay with their backends when one is down. The order
// begins anew, at random, when the pool changes.
type WRR struct{ Adapter }

// CaddyModule returns the Caddy module information.
func (*WRR) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "wrr", New: func() caddy.Module { return new(WRR) }}
}

// Provision sets up the policy.
func (p *WRR) Provision(ctx caddy.Context) error { return p.provision(ctx, "wrr", p) }

func (*WRR) prepare(g group) picker {
	c := new(wrrPicker)
	if !equal(g.weights) {
		c.schedule = newSchedule(g.weights)
	}
	c.shuffle()
	return c
}

// wrrPicker is a schedule and how far it has come.
type wrrPicker struct {
	schedule []int32 // nil: by position
	rotation
}

// maxSkips bounds how many turns of unusable backends a pick passes over
// before it looks for any usable one.
const maxSkips = 4096

func (c *wrrPicker) pick(all candidates, _ *http.Request) int {
	length := uint64(all.len())
	if c.schedule != nil {
		length = uint64(len(c.schedule))
	}
	// Passing over a turn takes it out of the cycle, which leaves the others'
	// proportions as they are.
	turns := c.next(&all)
	for range min(length, maxSkips) {
		i := int((turns.Add(1) - 1) % length)
		if c.schedule != nil {
			i = int(c.schedule[i])
		}
		if all.usable(i) {
			return i
		}
	}
	return anyUsable(all)
}

// peek implements [picker]: whose turn it is does not move on.
func (c *wrrPicker) peek() picker {
	next := &wrrPicker{schedule: c.schedule}
	next.counter.Store(c.counter.Load())
	return next
}

// score implements [picker]: how many turns there are before its next one.
func (c *wrrPicker) score(all *candidates, i int, _ *http.Request) map[string]float64 {
	at, n := c.counter.Load(), uint64(all.len())
	if c.schedule == nil {
		return map[string]float64{"turns": float64((uint64(i) + n - at%n) % n)}
	}
	n = uint64(len(c.schedule))
	for turns := range n {
		if c.schedule[(at+turns)%n] == int32(i) {
			return map[string]float64{"turns": float64(turns)}
		}
	}
	return nil
}

// anyUsable returns the first usable candidate from a random one on, or -1.
func anyUsable(c candidates) int {
	start := weakrand.IntN(c.len())
	for k := range c.len() {
		if i := (start + k) % c.len(); c.usable(i) {
			return i
		}
	}
	return -1
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy wrr {
//		weights <n...>   # on a plain upstream list, by position
//	}
func (p *WRR) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume policy name
	return p.unmarshal(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*WRR)(nil)
	_ reverseproxy.Selector = (*WRR)(nil)
	_ caddyfile.Unmarshaler = (*WRR)(nil)
	_ algorithm             = (*WRR)(nil)
)
