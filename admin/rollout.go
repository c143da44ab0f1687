// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// Rollouts is the response of GET .../rollouts: the groups of a pool, the main one first.
type Rollouts struct {
	Pool   string  `json:"pool"`   // name of the pool
	Groups []Group `json:"groups"` // empty if it has none
}

// Group is the state of a group of a pool, with its rollout.
type Group = report.GroupReport

// RolloutRequest is the body of POST .../rollouts/<group>.
type RolloutRequest struct {
	Action string `json:"action"` // pause, resume, promote or abort
}

func showRollouts(p *pool.Pool, w http.ResponseWriter, _ *http.Request) {
	groups := report.OfGroups(p)
	if groups == nil {
		groups = []Group{}
	}
	answer(w, http.StatusOK, Rollouts{p.Name, groups})
}

// rolloutOf is the rollout of a group by its name.
type rolloutOf string

func (g rolloutOf) show(p *pool.Pool, w http.ResponseWriter, _ *http.Request) {
	out, ok := report.OfGroup(current(p), string(g))
	if !ok {
		g.refuse(p, w, membership.ErrNoGroup)
		return
	}
	answer(w, http.StatusOK, out)
}

func (g rolloutOf) act(p *pool.Pool, w http.ResponseWriter, r *http.Request) {
	var body RolloutRequest
	if err := httpx.DecodeRequest(r, maxBody, &body); err != nil {
		refuse(w, err)
		return
	}
	if err := p.Manager().Rollout(string(g), rollout.Action(body.Action), whoAsks(r)); err != nil {
		g.refuse(p, w, err)
		return
	}
	g.show(p, w, r)
}

// refuse writes an error about the rollout of a group.
func (g rolloutOf) refuse(p *pool.Pool, w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, membership.ErrNoGroup):
		var names []string
		for _, g := range current(p).Groups() {
			names = append(names, g.Name)
		}
		known := "it has none"
		if len(names) > 0 {
			known = "its groups are " + listed(names)
		}
		fail(w, http.StatusNotFound, fmt.Errorf("%w: %q; %s", membership.ErrNoGroup, string(g), known))
	case errors.Is(err, membership.ErrNotKept):
		refuse(w, err)
	case errors.Is(err, rollout.ErrStage):
		fail(w, http.StatusConflict, err)
	default:
		refuse(w, err)
	}
}
