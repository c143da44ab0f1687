// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// GroupOf returns the index of the pool's group for the next attempt of a request. All attempts of
// a run of the request have the same group, whatever becomes of the shares meanwhile, except that
// those after a failure in a group with a fallback have the main group.
func GroupOf(req *http.Request, p *pool.Pool) int {
	if len(p.Groups()) == 0 {
		return group.Main
	}
	vars := vars(req.Context())
	if vars == nil {
		return p.GroupFor(req)
	}
	a := attemptsFor(req, vars)
	if !a.grouped {
		a.group, a.grouped = p.GroupFor(req), true
	}
	if n := len(a.tried); n > 0 && a.group != group.Main && p.FallsBack(a.tried[n-1]) {
		a.group = group.Main
	}
	return a.group
}

// SetGroup sets the group of a request, for example to the group of its session.
func SetGroup(req *http.Request, index int) {
	if vars := vars(req.Context()); vars != nil {
		a := attemptsFor(req, vars)
		a.group, a.grouped = index, true
	}
}
