// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"net/http"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// The values of on_full.
const (
	onSpill = "spill"
	onWait  = "wait"
)

// reserveOwner claims the backend that a request's key belongs to. If that is full, it
// waits while the pool's queue has room. It claims nothing and has no reason if another
// backend is to have the request.
func (a *Adapter) reserveOwner(r *http.Request, tried []*backend.Backend) (c backend.Permit, reason backend.Reason) {
	d := a.derived.Load()
	b := a.owner(d, r, tried)
	if b == nil {
		return c, ""
	}
	if !a.pool.Saturated() {
		var ok bool
		if c, ok = d.view.Reserve(b); ok {
			return c, ""
		}
		if !d.view.Full(b) { // it was on trial, and another request has that
			return backend.Permit{}, ""
		}
	}
	return a.pool.Acquire(r.Context(), backend.AcquireOptions{Only: b, MaySpill: true})
}

// owner returns the backend that a request's key belongs to, of those that serve,
// whether or not it is full, or nil.
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

// ownerOf returns the candidate of a pool that the request's key belongs to, of those
// that serve and were not tried, whether or not it is full; -1 for none, or if it has
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
