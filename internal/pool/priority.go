// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	weakrand "math/rand/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// TierFor returns the index of the tier for a random draw in [0, 1); 0 without tiers.
func (v *View) TierFor(draw float64) int {
	for i := range v.Tiers {
		if draw < v.Tiers[i].Share {
			return i
		}
	}
	return max(0, len(v.Tiers)-1)
}

// TierOrder returns the n-th tier to try: the drawn one (first), and then the others in their
// order.
func (v *View) TierOrder(first, n int) int {
	switch {
	case n == 0:
		return first
	case n <= first:
		return n - 1
	}
	return n
}

// ReserveTrial reserves a trial, see [tiers.EachTrial], for a request that has tried the given backends. It returns the
// zero permit if there is none, and for a retry, which must not be a trial.
func (v *View) ReserveTrial(tried []*backend.Backend, keyed bool) backend.Permit {
	if !v.HalfOpen || len(tried) > 0 {
		return backend.Permit{}
	}
	for b := range tiers.EachTrial(v.Tiers, keyed, v.overdue) {
		if c, ok := b.Reserve(); ok {
			return c
		}
	}
	return backend.Permit{}
}

// PeekTrial returns a half-open backend that the next request may be the trial of, see [tiers.EachTrial], or nil. It
// reserves nothing.
func (v *View) PeekTrial(keyed bool) *backend.Backend {
	for b := range tiers.EachTrial(v.Tiers, keyed, v.overdue) {
		return b
	}
	return nil
}

// SpillsOver reports whether the first tier gets less than all requests.
func (v *View) SpillsOver() bool { return len(v.Tiers) > 1 && v.Tiers[0].Share < 1 }

// ReserveStarved reserves a starved backend of a tier in slow start. It returns the zero permit if there is none. A
// backend is reserved once in each step without an answer. At most tiers.MaxTrials backends are considered.
func (v *View) ReserveStarved(tier int) backend.Permit {
	t, now := &v.Tiers[tier], clock.Now()
	if len(t.Ramping) == 0 {
		return backend.Permit{}
	}
	first := weakrand.IntN(len(t.Ramping))
	for i := range min(len(t.Ramping), tiers.MaxTrials) {
		b := t.Ramping[(first+i)%len(t.Ramping)]
		if !b.Ramping() || !v.Usable(b) || !b.Ramp.TakeStarved(now, v.step) {
			continue
		}
		if c, ok := v.Reserve(b); ok {
			return c
		}
	}
	return backend.Permit{}
}
