// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	weakrand "math/rand/v2"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// maxClaims bounds how often one request picks a backend that another claims
// before it: it would have to meet a trial that begins each time.
const maxClaims = 8

// affine is an algorithm that keeps requests of a key together.
type affine interface {
	// drawFor returns a number from 0 to 1 that is the same for the same key,
	// or false for a request without a key.
	drawFor(r *http.Request) (draw float64, ok bool)
}

// selectFromTiers asks the given tier, and then the others in their order.
func (a *Adapter) selectFromTiers(d *derived, first int, r *http.Request, tried []*backend.Backend) *backend.Backend {
	if b := a.trial(d.view, r, tried); b != nil {
		return b
	}
	for n := range d.pickers {
		i := d.view.Order(first, n)
		g, c := d.groups[i], candidates{group: d.groups[i], view: d.view, all: a.pool.Shared(), tried: tried}
		for range maxClaims {
			n := d.pickers[i].pick(c, r)
			if n < 0 {
				break
			}
			if b := g.backends[n]; d.view.Claim(b) {
				return b
			}
			// Another request was faster to claim it. It is not usable now, so
			// that another pick finds another one.
		}
	}
	return nil
}

// trial returns a backend that waits for a trial, of any tier: it is to have one
// soon, and policies that know how it has failed would not send it a request, nor
// would a tier that has no other. Where keys stay with their backends, it waits
// for one of its own, if its tier gets any.
func (a *Adapter) trial(v *backend.View, r *http.Request, tried []*backend.Backend) *backend.Backend {
	if !v.Trials || len(tried) > 0 { // a retry is no trial
		return nil
	}
	keyed := false
	if k, ok := a.algorithm.(affine); ok {
		_, keyed = k.drawFor(r)
	}
	for i := range v.Tiers {
		if keyed && v.Gets(i) {
			continue
		}
		if b := v.Tiers[i].Trial(); b != nil {
			return b
		}
	}
	return nil
}

// draw returns a number from 0 to 1 that decides which tier a request goes to:
// at random or, for policies that keep a key with its backend, by the key.
func (a *Adapter) draw(r *http.Request) float64 {
	if k, ok := a.algorithm.(affine); ok {
		if draw, ok := k.drawFor(r); ok {
			return draw
		}
	}
	return weakrand.Float64()
}
