// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/names"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// byTest says that the test of a rollout has aborted it.
const byTest membership.Origin = "test"

// rolloutTable is what the instances of a fleet have done with the rollouts of a pool: the latest
// action on each group, by the clock of the fleet. Each instance takes the steps by itself. Safe for
// concurrent use.
type rolloutTable struct {
	recordTable
	acts sync.Mutex // held from a change of a rollout until it is published, so that both have the same order, and while it adopts a plan
}

// replicatedRollout is an action on a rollout, as the value of a record whose key is the name of the
// group. Read-only.
type replicatedRollout struct {
	Action rollout.Action `json:"action"`
	// Plan is that of the rollout, as [rollout.Plan.Key]. An instance whose rollout has another one ignores
	// the action until it adopts that plan.
	Plan string `json:"plan"`
	// Begun is as in [rollout.Record].
	Begun uint64 `json:"begun,omitempty"`
	// By is operator or test. Reason is why an operator or the test aborts.
	By     membership.Origin `json:"by"`
	Reason string            `json:"reason,omitempty"`
	// Who has asked the instance for it, as in [membership.Addition].
	Who      string `json:"who,omitempty"`
	Instance string `json:"instance"`
}

// Bounds of a record of a rollout, in bytes, and of their number.
const (
	maxRollouts      = 1000
	maxRolloutKey    = 200
	maxRolloutPlan   = 4000
	maxRolloutReason = 1000
)

// checkRollout returns why a record of another instance is invalid, or nil.
func checkRollout(key string, value []byte) error {
	var said replicatedRollout
	if err := httpx.DecodeJSON(value, &said); err != nil {
		return err
	}
	switch {
	case key == "" || len(key) > maxRolloutKey || !names.Readable(key):
		return fmt.Errorf("the group must be readable text of 1 to %d bytes", maxRolloutKey)
	case !slices.Contains(rollout.Actions(), said.Action):
		return fmt.Errorf("the action must be pause, resume, promote or abort, got %q", clip.Text(string(said.Action)))
	case said.By != membership.Added && said.By != byTest:
		return fmt.Errorf("by must be operator or test, got %q", clip.Text(string(said.By)))
	case len(said.Plan) > maxRolloutPlan || len(said.Reason) > maxRolloutReason || !names.Readable(said.Reason):
		return fmt.Errorf("the plan and the reason must have at most %d and %d bytes", maxRolloutPlan, maxRolloutReason)
	}
	return (&replicatedChange{By: membership.Added, Instance: said.Instance, Who: said.Who}).check(aspectMember)
}

// ttl returns for how long an action is kept: a resumed rollout is as one that nobody has touched.
func (said *replicatedRollout) ttl() time.Duration {
	if said.Action == rollout.Resume {
		return removedFor
	}
	return keptFor
}

// act changes the rollout of a group with f, and publishes said if f reports that it has acted.
func (c *replica) act(g *group.Group, said *replicatedRollout, f func() (acted bool)) {
	if c == nil {
		f()
		return
	}
	c.rollouts.acts.Lock()
	defer c.rollouts.acts.Unlock()
	aborted := !g.Rollout.Open()
	if !f() {
		return
	}
	said.Plan, said.Instance = g.Rollout.Record().Shares, c.fleet.ID()
	said.Who, said.Reason = clip.To(said.Who, membership.MaxWho), clip.To(said.Reason, maxRolloutReason)
	version := c.fleet.Now()
	g.Rollout.SetActed(version, aborted && said.Action == rollout.Resume)
	said.Begun = g.Rollout.Begun()
	if value, _ := json.Marshal(said); len(value) <= fleet.MaxValue {
		c.rollouts.put(g.Name, version, value, said.ttl())
	}
}

// settleRollouts does with the rollouts of the pool what other instances have done since its last
// call.
func (p *Pool) settleRollouts(c *replica) {
	if !c.rollouts.waits() {
		return
	}
	for name := range c.rollouts.take() {
		if g := p.Groups().Find(name); g != nil {
			p.settleRollout(c, g)
		}
	}
}

func (p *Pool) settleRollout(c *replica, g *group.Group) {
	if said, changed := c.follow(g, clock.Now()); changed {
		p.announceAction(g, &said)
	}
}

// adopt makes the plan of a group that of its rollout, and reports whether it begins anew.
func (c *replica) adopt(g *group.Group, now time.Duration) (anew bool) {
	if c != nil {
		c.rollouts.acts.Lock()
		defer c.rollouts.acts.Unlock()
	}
	return g.Rollout.Adopt(g.Plan, now)
}

// follow does with a rollout what the latest action of another instance has done.
func (c *replica) follow(g *group.Group, now time.Duration) (said replicatedRollout, changed bool) {
	c.rollouts.acts.Lock()
	defer c.rollouts.acts.Unlock()
	r, ok := c.rollouts.get(g.Name)
	if !ok || json.Unmarshal(r.value, &said) != nil || said.Plan != g.Rollout.Record().Shares {
		return said, false
	}
	return said, g.Rollout.Follow(said.Action, said.Reason, r.version, said.Begun, now)
}

// announceAction announces an action on a rollout.
func (p *Pool) announceAction(g *group.Group, said *replicatedRollout) {
	data := dataOf(g, made(said.By, said.Who, said.Instance)...)
	switch said.Action {
	case rollout.Pause:
		p.emit(nil, false, "the rollout is paused", "rollout_paused", "", data...)
	case rollout.Resume:
		p.emit(nil, false, "the rollout goes on", "rollout_resumed", "", data...)
	case rollout.Promote:
		p.emit(nil, false, "the rollout is promoted", "rollout_promoted", "", data...)
	case rollout.Abort:
		p.emit(nil, true, "the rollout is aborted", "rollout_aborted", said.Reason, data...)
	}
	p.loop.Wake()
}
