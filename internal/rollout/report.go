// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"time"
)

// Record is the part of a rollout that outlives the process.
type Record struct {
	// Shares is the [Plan.Key] of the plan. A record of another plan is ignored.
	Shares string `json:"shares"`
	// State is the state.
	State Stage `json:"state"`
	// Step is the index of the current step, from 0. After a restart, the step begins again.
	Step int `json:"step,omitempty"`
	// Reason is why the rollout is aborted.
	Reason string `json:"reason,omitempty"`
	// Latest is the latest action since the rollout began or has restarted; empty for none.
	Latest Action `json:"latest,omitempty"`
	// Acted is the version of the latest action that was applied, from any instance of a fleet; 0 for none.
	Acted uint64 `json:"acted,omitempty"`
	// Begun is the version of the action that has restarted the rollout; 0 for none.
	Begun uint64 `json:"begun,omitempty"`
}

// Record returns the record of the rollout.
func (o *Rollout) Record() Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Record{Shares: o.plan.Key(), State: o.state, Step: o.step, Latest: o.latest, Acted: o.acted, Begun: o.begun}
	if o.state == Aborted {
		r.Reason = o.reason
	}
	return r
}

// Overview is the state of a rollout at one time, for reports.
type Overview struct {
	// State is the state.
	State Stage
	// Share is the current share of the requests, from 0 to 1.
	Share float64
	// Shares are the shares of all steps.
	Shares []float64
	// Step is the index of the current step, from 0.
	Step int
	// Age is how long the step has lasted. Next is the time until the next step; 0 if it is due, and
	// negative if there is none.
	Age, Next time.Duration
	// Reason is why the rollout is aborted, or why the next step is delayed; "" for neither.
	Reason string
	// Group and Main are the outcomes that are compared: since the start of the step, or of at most the
	// latest hour of a longer step.
	Group, Main Figures
	// Need is how many attempts the step needs before the next one begins.
	Need uint64
	// Quantile is the quantile of the times in Group and Main: that of the abort rules, or 0.95.
	Quantile float64
}

// Figures are outcomes of a group.
type Figures struct {
	// Attempts and Errors are as in [Total].
	Attempts, Errors uint64
	// Time is the quantile of the times to the response header, 0 for none.
	Time time.Duration
}

// Report returns the state of the rollout.
func (o *Rollout) Report(now time.Duration) Overview {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Overview{
		State: o.state, Share: o.Share(), Shares: o.plan.Shares, Step: o.step, Age: now - o.since, Next: -1, Reason: o.reason,
		Need: o.plan.need(), Quantile: 0.95,
	}
	if rules := o.plan.Abort; rules != nil {
		r.Quantile = cmp.Or(rules.Quantile, r.Quantile)
	}
	if o.state == Paused {
		r.Age = o.spent
	}
	if (o.state == Running || o.state == Paused) && o.step+1 < len(o.plan.Shares) {
		r.Next = max(0, o.plan.Every-r.Age)
	}
	group, main := o.Total().Since(&o.before), o.main.Total().Since(&o.mainBefore)
	r.Group = Figures{group.Attempts, group.Errors, group.Quantile(r.Quantile)}
	r.Main = Figures{main.Attempts, main.Errors, main.Quantile(r.Quantile)}
	return r
}
