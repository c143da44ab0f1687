// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"net/http"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Values of on_full.
const (
	onSpill = "spill"
	onWait  = "wait"
)

// onFullWords are the words of on_full.
var onFullWords = caddyfileutil.Words{onSpill, onWait}

// reserveOwner reserves the backend to which a request's key belongs, unless the request is a
// trial. If that backend is full, the request waits, unless the pool's queue is full. The result is
// a zero permit without a reason if another backend should serve the request.
func (a *Adapter) reserveOwner(r *http.Request, group int, tried []*backend.Backend) (c backend.Permit, reason pool.Reason) {
	d := a.derived.Load().of(group)
	if d.view.HalfOpen && !a.pool.Saturated(group) {
		if c = d.view.ReserveTrial(tried, a.pickKeyed(r)); c.Backend != nil {
			return c, ""
		}
	}
	b := a.owner(d, r, tried)
	if b == nil {
		return c, ""
	}
	if !a.pool.Saturated(group) {
		var ok bool
		if c, ok = d.view.Reserve(b); ok {
			return c, ""
		}
		if !d.view.Full(b) { // it was half-open, and another request is its trial
			return backend.Permit{}, ""
		}
	}
	return a.pool.Acquire(r.Context(), pool.AcquireOptions{Only: b, MaySpill: true})
}

// owner returns the eligible backend to which a request's key belongs, full or not, or nil.
func (a *Adapter) owner(d *derived, r *http.Request, tried []*backend.Backend) *backend.Backend {
	if len(d.pickers) == 0 {
		return nil
	}
	tier := 0
	if d.view.SpillsOver() {
		tier = d.view.TierFor(a.draw(r))
	}
	k, ok := d.pickers[tier].(*hashPicker)
	if !ok {
		return nil
	}
	c := a.candidates(d, tier, tried)
	if i := k.ownerOf(&c, r); i >= 0 {
		return c.backends[i]
	}
	return nil
}

// ownerOf returns the eligible candidate of a pool to which the request's key belongs and that
// was not tried, full or not. It returns -1 if there is none, or if the candidate has reached
// its bounded load.
func (p *hashPicker) ownerOf(c *candidates, r *http.Request) int {
	h, ok := p.hash(r)
	if !ok {
		return -1
	}
	pos := p.start(h)
	for range maxHops {
		i := p.owner(pos)
		b := c.backends[i]
		serves := c.usable(i) || c.view.Full(b) && (len(c.tried) == 0 || !slices.Contains(c.tried, b) && c.view.NotOnTrial(b))
		switch {
		case !serves:
		case p.fits(c, i):
			return i
		default:
			return -1
		}
		pos = p.next(pos)
	}
	return -1
}
