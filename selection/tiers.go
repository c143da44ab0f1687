// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	weakrand "math/rand/v2"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// maxReservations bounds how often one request picks a backend whose slot another request takes
// first. Each failure needs a trial that just begins or a last free slot, so the pool is then
// practically full.
const maxReservations = 8

// keyedAlgorithm is an algorithm that keeps the requests of a key together.
type keyedAlgorithm interface {
	// drawFor returns a number from 0 to 1 that is the same for the same key, or false for a
	// request without a key.
	drawFor(r *http.Request) (draw float64, ok bool)
}

// selectFromTiers picks from the given tier, and then from the others in their order.
func (a *Adapter) selectFromTiers(d *derived, first int, r *http.Request, tried []*backend.Backend, retry bool) backend.Permit {
	// A trial comes first: a policy that has seen the backend fail would not pick it, and its tier
	// gets no requests if it has no other backend.
	if d.view.HalfOpen {
		if c := d.view.ReserveTrial(tried, a.pickKeyed(r)); c.Backend != nil {
			return c
		}
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
			if permit, ok := d.view.Reserve(g.backends[n]); ok {
				return permit
			}
			// Another request has taken the slot. The backend is not usable now, so another
			// pick finds another one.
		}
	}
	return backend.Permit{}
}

// candidates returns the candidates of a tier.
func (a *Adapter) candidates(d *derived, tier int, tried []*backend.Backend) candidates {
	return candidates{group: d.groups[tier], view: d.view, all: d.shared, tried: tried}
}

// pickKeyed reports whether the policy is keyed and the request has a key.
func (a *Adapter) pickKeyed(r *http.Request) bool {
	k, ok := a.algorithm.(keyedAlgorithm)
	if ok {
		_, ok = k.drawFor(r)
	}
	return ok
}

// draw returns a number from 0 to 1 that decides the tier of a request: random or, for keyed
// policies, derived from the key.
func (a *Adapter) draw(r *http.Request) float64 {
	if k, ok := a.algorithm.(keyedAlgorithm); ok {
		if draw, ok := k.drawFor(r); ok {
			return draw
		}
	}
	return weakrand.Float64()
}

// preferredPicker is a picker for which each key has a preferred backend.
type preferredPicker interface {
	// preferred returns the index of that candidate if it is usable, else -1.
	preferred(c candidates, r *http.Request) int
}

// preferredBackend returns the preferred backend of a request if it has a free slot, or nil.
// Unlike a pick, it considers no other backend.
func (a *Adapter) preferredBackend(r *http.Request, group int, tried []*backend.Backend) *backend.Backend {
	d := a.derived.Load().of(group)
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
