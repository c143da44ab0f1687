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

// WRR is weighted round robin: backends take turns in proportion to their weights, spread evenly.
// Every whole cycle gives each backend exactly its share, also with concurrent requests. When a
// backend goes down, the others keep their proportions. With equal weights it is plain round robin.
// Retries have their own rotation.
//
// Unlike Caddy's weighted_round_robin, it does not send several requests in a row to a heavy
// backend, and weights stay with their backends when one is down. The order restarts at a random
// position when the pool changes.
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

// wrrPicker is a schedule and the position in it.
type wrrPicker struct {
	schedule []int32 // nil: by position
	rotation
}

// maxSkips bounds the turns of unusable backends that a pick skips before it looks for any
// usable backend.
const maxSkips = 4096

func (c *wrrPicker) pick(all candidates, _ *http.Request) int {
	length := uint64(all.len())
	if c.schedule != nil {
		length = uint64(len(c.schedule))
	}
	// A skipped turn is taken out of the cycle, which keeps the proportions of the others.
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

// peek implements [picker]. It does not advance the rotation.
func (c *wrrPicker) peek() picker {
	next := &wrrPicker{schedule: c.schedule}
	next.counter.Store(c.counter.Load())
	return next
}

// score implements [picker]: the number of turns before the backend's next one.
func (c *wrrPicker) score(all *candidates, i int, _ *http.Request) map[string]float64 {
	count, n := c.counter.Load(), uint64(all.len())
	if c.schedule == nil {
		return map[string]float64{"turns": float64((uint64(i) + n - count%n) % n)}
	}
	n = uint64(len(c.schedule))
	for turns := range n {
		if c.schedule[(count+turns)%n] == int32(i) {
			return map[string]float64{"turns": float64(turns)}
		}
	}
	return nil
}

// anyUsable returns the first usable candidate, starting at a random one, or -1.
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
