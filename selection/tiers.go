// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	weakrand "math/rand/v2"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// maxReservations bounds how often one request picks a backend that another claims
// before it: it would have to meet a trial that begins, or a last free slot, each
// time. Then the pool is as good as full.
const maxReservations = 8

// keyedAlgorithm is an algorithm that keeps requests of a key together.
type keyedAlgorithm interface {
	// drawFor returns a number from 0 to 1 that is the same for the same key,
	// or false for a request without a key.
	drawFor(r *http.Request) (draw float64, ok bool)
}

// selectFromTiers asks the given tier, and then the others in their order.
func (a *Adapter) selectFromTiers(d *derived, first int, r *http.Request, tried []*backend.Backend, retry bool) backend.Permit {
	if c := a.trial(d.view, r, tried); c.Backend != nil {
		return c
	}
	if d.view.Ramping && !retry && !a.pickKeyed(r) {
		if c := d.view.ReserveStarved(first); c.Backend != nil {
			return c
		}
	}
	for n := range d.pickers {
		i := d.view.TierOrder(first, n)
		g, c := d.groups[i], a.candidates(d, i, tried)
		c.retry = retry
		for range maxReservations {
			n := d.pickers[i].pick(c, r)
			if n < 0 {
				break
			}
			if claim, ok := d.view.Reserve(g.backends[n]); ok {
				return claim
			}
			// Another request was faster to claim it. It is not usable now, so
			// that another pick finds another one.
		}
	}
	return backend.Permit{}
}

// candidates returns those of a tier.
func (a *Adapter) candidates(d *derived, tier int, tried []*backend.Backend) candidates {
	return candidates{group: d.groups[tier], view: d.view, all: a.pool.Shared(), tried: tried}
}

// trial claims a backend that waits for a trial, of any tier: it is to have one
// soon, and policies that know how it has failed would not send it a request, nor
// would a tier that has no other. Where keys stay with their backends, it waits
// for one of its own, if its tier gets any.
func (a *Adapter) trial(v *backend.View, r *http.Request, tried []*backend.Backend) backend.Permit {
	if !v.HalfOpen || len(tried) > 0 { // a retry is no trial
		return backend.Permit{}
	}
	keyed := a.pickKeyed(r)
	for i := range v.Tiers {
		if keyed && v.GetsRequests(i) {
			continue
		}
		if c := v.Tiers[i].ReserveTrial(); c.Backend != nil {
			return c
		}
	}
	return backend.Permit{}
}

// pickKeyed reports whether the request has a key that it is kept with a backend by.
func (a *Adapter) pickKeyed(r *http.Request) bool {
	k, ok := a.algorithm.(keyedAlgorithm)
	if ok {
		_, ok = k.drawFor(r)
	}
	return ok
}

// draw returns a number from 0 to 1 that decides which tier a request goes to:
// at random or, for policies that keep a key with its backend, by the key.
func (a *Adapter) draw(r *http.Request) float64 {
	if k, ok := a.algorithm.(keyedAlgorithm); ok {
		if draw, ok := k.drawFor(r); ok {
			return draw
		}
	}
	return weakrand.Float64()
}

// preferredPicker is a picker for which requests have a backend that they belong to.
type preferredPicker interface {
	// preferred returns the index of that candidate if it is usable, else -1.
	preferred(c candidates, r *http.Request) int
}

// preferredBackend returns the backend that a request belongs to, if it has a free slot, or
// nil. Unlike a pick it looks at no other.
func (a *Adapter) preferredBackend(r *http.Request, tried []*backend.Backend) *backend.Backend {
	d := a.derived.Load()
	if _, ok := a.algorithm.(keyedAlgorithm); !ok || len(d.pickers) == 0 {
		return nil
	}
	tier := 0
	if d.view.SpillsOver() {
		tier = d.view.TierFor(a.draw(r))
	}
	if h, ok := d.pickers[tier].(preferredPicker); ok {
		if i := h.preferred(a.candidates(d, tier, tried), r); i >= 0 {
			return d.groups[tier].backends[i]
		}
	}
	return nil
}
