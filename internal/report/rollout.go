// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// GroupReport is the state of a group of a pool. A pool without groups has no reports, also not for the main group.
type GroupReport struct {
	Name     string  `json:"name"`     // main for the backends in no group
	Share    float64 `json:"share"`    // of the requests, from 0 to 1
	Backends int     `json:"backends"` // in the group
	// Serving reports that a backend of the group takes new requests. While none does, the main group serves
	// the requests of the group.
	Serving bool `json:"serving"` // see above
	// Reason is why none does, as in {http.ballast.reason}; empty if one does.
	Reason string `json:"reason,omitempty"`
	// Healthy counts the healthy backends, as in PoolReport.
	Healthy  int  `json:"healthy"`            // see above
	Panic    bool `json:"panic,omitempty"`    // health is ignored
	Fallback bool `json:"fallback,omitempty"` // failed requests are sent again to the main group
	// Requests and Errors count attempts so far. An error is a status of 500 or more, or an attempt
	// without an answer.
	Requests uint64 `json:"requests"` // see above
	Errors   uint64 `json:"errors"`   // see Requests
	// Rollout is nil for the main group.
	Rollout *RolloutReport `json:"rollout,omitempty"`
}

// RolloutReport is the rollout of a group.
type RolloutReport struct {
	State string `json:"state"` // running, paused, promoted or aborted
	// Actions are the actions that would change the rollout now: pause, resume, promote or abort.
	Actions []string  `json:"actions"` // see above
	Shares  []float64 `json:"shares"`  // of all steps
	Step    int       `json:"step"`    // index of the current one
	Age     float64   `json:"age"`     // how long the step has lasted, in seconds
	// Next is the time until the next step is due, in seconds; nil if there is none.
	Next *float64 `json:"next"` // see above
	// Reason is why the rollout is aborted, or why the next step waits.
	Reason string `json:"reason,omitempty"` // see above
	Needed uint64 `json:"needed"`           // requests that the step needs before it ends
	// Group and Main are compared: the outcomes in the step, or in the latest hour of a longer one.
	Group RolloutFigures `json:"group"` // see above
	Main  RolloutFigures `json:"main"`  // see Group
}

// RolloutFigures are the outcomes of a group in a step.
type RolloutFigures struct {
	Requests uint64 `json:"requests"` // attempts
	Errors   uint64 `json:"errors"`   // of them
	// Quantile is the quantile that is compared, and Latency its time to the response header in
	// seconds, 0 for none.
	Quantile float64 `json:"quantile"` // see above
	Latency  float64 `json:"latency"`  // see Quantile
}

// OfGroups returns the reports of the groups of a pool, the main group first; nil if the pool has no groups.
func OfGroups(p *pool.Pool) (all []GroupReport) {
	groups := p.Groups()
	if len(groups) == 0 {
		return nil
	}
	view := p.View()
	for i, share := range groups.Shares() {
		part := view.Of(i)
		g := GroupReport{Name: group.MainName, Share: share, Backends: len(part.Own.All), Serving: len(part.Tiers) > 0, Reason: string(part.Reason), Panic: part.Panic}
		g.Healthy, _ = part.Healthy()
		if i == group.Main {
			g.Requests, g.Errors = p.Options().MainCounts.Attempts()
		} else {
			of := groups[i-1]
			g.Name, g.Fallback, g.Rollout = of.Name, of.Fallback, ofRollout(of.Rollout)
			g.Requests, g.Errors = of.Rollout.Attempts()
		}
		all = append(all, g)
	}
	return all
}

// OfGroup returns the report of the group with this name; false if there is none.
func OfGroup(p *pool.Pool, name string) (g GroupReport, ok bool) {
	for _, g := range OfGroups(p) {
		if g.Name == name && g.Rollout != nil {
			return g, true
		}
	}
	return g, false
}

func ofRollout(o *rollout.Rollout) *RolloutReport {
	r := o.Report(clock.Now())
	out := &RolloutReport{
		State: string(r.State), Actions: actions(r.State), Shares: r.Shares, Step: r.Step, Age: r.Age.Seconds(), Reason: r.Reason, Needed: r.Need,
		Group: figures(r.Group, r.Quantile), Main: figures(r.Main, r.Quantile),
	}
	if r.Next >= 0 {
		out.Next = new(r.Next.Seconds())
	}
	return out
}

func figures(f rollout.Figures, quantile float64) RolloutFigures {
	return RolloutFigures{Requests: f.Attempts, Errors: f.Errors, Quantile: quantile, Latency: f.Time.Seconds()}
}

// actions returns the actions that change a rollout in a state.
func actions(s rollout.Stage) []string {
	switch s {
	case rollout.Running:
		return []string{"pause", "promote", "abort"}
	case rollout.Paused:
		return []string{"resume", "promote", "abort"}
	case rollout.Promoted:
		return []string{"abort"}
	}
	return []string{"resume", "promote"}
}
