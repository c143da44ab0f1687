// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// candidates are the backends that a request may go to: a tier of a pool's view, or a list of
// upstreams. A picker gets a copy, which stays off the heap. Methods have pointer receivers,
// because they run for every backend.
type candidates struct {
	group
	list  reverseproxy.UpstreamPool // nil in a pool
	view  *pool.View                // nil in a list
	all   *backend.Shared           // totals of the pool or list
	tried []*backend.Backend
	retry bool // the request was sent before, possibly to a backend that is not among the tried ones
}

// len returns the number of candidates, usable or not.
func (c *candidates) len() int { return len(c.backends) }

// usable reports whether candidate i can take the request now.
func (c *candidates) usable(i int) bool {
	b := c.backends[i]
	if c.list != nil {
		if c.weights[i] == 0 || !c.list[i].Available() {
			return false
		}
	} else if !c.view.Usable(b) {
		return false
	}
	// A retry must not be a trial: a failed trial would fail the request for good.
	return len(c.tried) == 0 || !slices.Contains(c.tried, b) && (c.view == nil || c.view.NotOnTrial(b))
}

// inFlight returns the number of requests in flight to candidate i.
func (c *candidates) inFlight(i int) int {
	if c.list != nil {
		return c.list[i].NumRequests()
	}
	return c.states[i].InFlight()
}

// queue returns the requests in flight to candidate i, divided by its ramp during slow start.
func (c *candidates) queue(i int) float64 {
	if c.ramps != nil {
		return float64(c.inFlight(i)) / c.ramps[i]
	}
	return float64(c.inFlight(i))
}

// load returns the load of candidate i: its requests in flight, plus a penalty for failures. A
// backend that fails at once has few requests in flight, but must not attract requests: in
// proportion to its failure rate, up to one request more than the average is added.
func (c *candidates) load(i int) float64 {
	n := float64(c.inFlight(i))
	if failing := c.states[i].Failing(); failing > 0 {
		n += failing * (1 + float64(c.all.InFlight())/float64(len(c.backends)))
	}
	return n
}

// less reports whether candidate i has a lower load by weight than candidate j. It compares
// i/wi < j/wj without division.
func (c *candidates) less(i, j int) bool {
	return c.load(i)*c.weights[j] < c.load(j)*c.weights[i]
}
