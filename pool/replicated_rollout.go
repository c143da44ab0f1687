// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// byTest is the origin of an abort by the test of the rollout.
const byTest membership.Origin = "test"

// rolloutTable holds the latest action of any instance of a fleet on the rollout of each group with each plan, by the
// clock of the fleet. Each instance takes the steps of a rollout itself. An action is kept while an instance has the
// group with that plan, so that it does not affect a later rollout with the same plan. Safe for concurrent use.
type rolloutTable struct {
	recordTable
	// acts is held from a change of a rollout until it is published, so that both happen in the same order,
	// and while a rollout adopts a plan.
	acts sync.Mutex
}

// replicatedRollout is an action on a rollout: the JSON value of a record with a [rolloutRecordKey]. Read-only.
type replicatedRollout struct {
	Action rollout.Action `json:"action"`
	// Begun is as in [rollout.Record].
	Begun uint64 `json:"begun,omitempty"`
	// By is the origin of the action, operator or test. Reason is the reason of an abort.
	By     membership.Origin `json:"by"`
	Reason string            `json:"reason,omitempty"`
	// Who is the person or program that requested the action, as in [membership.Addition]. Instance is
	// the id of the instance of the fleet that made it.
	Who      string `json:"who,omitempty"`
	Instance string `json:"instance"`
}

// maxRollouts bounds the records of rollouts; the others bound parts of a record, in bytes.
const (
	maxRollouts      = 1000
	maxRolloutKey    = 250
	maxRolloutReason = 1000
)

// rolloutRecordKey returns the key of the record of a group with the current plan of its rollout. Instances get a new
// configuration one after the other: an action with one plan must not replace one with another.
func rolloutRecordKey(g *group.Group) string { return g.Name + "|" + digest(g.Rollout.Record().Shares) }

// groupOfRecord returns the name of the group of a record.
func groupOfRecord(key string) string { return key[:max(0, strings.LastIndex(key, "|"))] }

// minRolloutKept is how long an action is kept without an instance that has the group with the plan, or more with
// long heartbeats. It is enough for a restart of all instances.
const minRolloutKept = time.Minute

// checkRollout returns an error if a record of another instance is invalid.
func checkRollout(key string, value []byte) error {
	var action replicatedRollout
	if err := httpx.DecodeJSON(value, &action); err != nil {
		return err
	}
	switch {
	case groupOfRecord(key) == "" || len(key) > maxRolloutKey || !names.Readable(key):
		return fmt.Errorf("the key must be a group and a digest of its plan, readable text of at most %d bytes", maxRolloutKey)
	case !slices.Contains(rollout.Actions(), action.Action):
		return fmt.Errorf("the action must be pause, resume, promote or abort, got %q", clip.Text(string(action.Action)))
	case action.By != membership.Added && action.By != byTest:
		return fmt.Errorf("by must be operator or test, got %q", clip.Text(string(action.By)))
	case len(action.Reason) > maxRolloutReason || !names.Readable(action.Reason):
		return fmt.Errorf("the reason must be readable text of at most %d bytes", maxRolloutReason)
	}
	return (&replicatedChange{By: membership.Added, Instance: action.Instance, Who: action.Who}).check(aspectMember)
}

// rolloutKept returns how long an action is kept without an instance that has the group with the plan.
func (c *replica) rolloutKept() time.Duration {
	return max(minRolloutKept, observedFor*c.fleet.Status().Heartbeat)
}

// renewRollouts renews the actions that the rollouts of the pool have applied.
func (c *replica) renewRollouts(p *Pool) {
	if c == nil {
		return
	}
	for _, g := range p.Groups() {
		key, kept := rolloutRecordKey(g), c.rolloutKept()
		r, ok := c.rollouts.get(key)
		if ok && r.version == g.Rollout.Record().Acted && time.Until(r.until) < kept*2/3 {
			c.rollouts.put(key, r.version, r.value, kept)
		}
	}
}

// act calls f, which acts on the rollout of a group, and publishes action if f reports that it has changed something.
func (c *replica) act(g *group.Group, action *replicatedRollout, f func() (acted bool)) {
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
	action.Instance = c.fleet.ID()
	action.Who, action.Reason = clip.To(action.Who, membership.MaxWho), clip.To(action.Reason, maxRolloutReason)
	key := rolloutRecordKey(g)
	version := c.rollouts.version(c.fleet, key)
	g.Rollout.SetActed(version, aborted && action.Action == rollout.Resume)
	action.Begun = g.Rollout.Begun()
	if value, _ := json.Marshal(action); len(value) <= fleet.MaxValue {
		c.rollouts.put(key, version, value, c.rolloutKept())
	}
}

// applyRollouts applies the actions of other instances on rollouts of the pool since its last call.
func (p *Pool) applyRollouts(c *replica) {
	if !c.rollouts.waits() {
		return
	}
	for key := range c.rollouts.take() {
		if g := p.Groups().Find(groupOfRecord(key)); g != nil {
			p.applyRollout(c, g)
		}
	}
}

func (p *Pool) applyRollout(c *replica, g *group.Group) {
	if action, changed := c.follow(g, clock.Now()); changed {
		p.announceAction(g, &action)
	}
}

// adopt sets the plan of a rollout to that of its group, and reports whether the rollout has restarted.
func (c *replica) adopt(g *group.Group, now time.Duration) (anew bool) {
	if c != nil {
		c.rollouts.acts.Lock()
		defer c.rollouts.acts.Unlock()
	}
	return g.Rollout.Adopt(g.Plan, now)
}

// follow applies the latest action of another instance to a rollout.
func (c *replica) follow(g *group.Group, now time.Duration) (action replicatedRollout, changed bool) {
	c.rollouts.acts.Lock()
	defer c.rollouts.acts.Unlock()
	r, ok := c.rollouts.get(rolloutRecordKey(g))
	if !ok || json.Unmarshal(r.value, &action) != nil {
		return action, false
	}
	return action, g.Rollout.Follow(action.Action, action.Reason, r.version, action.Begun, now)
}

// announceAction announces an action on a rollout.
func (p *Pool) announceAction(g *group.Group, action *replicatedRollout) {
	data := dataOf(g, attribution(action.By, action.Who, action.Instance)...)
	switch action.Action {
	case rollout.Pause:
		p.emit(nil, false, "the rollout is paused", "rollout_paused", "", data...)
	case rollout.Resume:
		p.emit(nil, false, "the rollout goes on", "rollout_resumed", "", data...)
	case rollout.Promote:
		p.emit(nil, false, "the rollout is promoted", "rollout_promoted", "", data...)
	case rollout.Abort:
		p.emit(nil, true, "the rollout is aborted", "rollout_aborted", action.Reason, data...)
	}
	p.loop.Wake()
}
