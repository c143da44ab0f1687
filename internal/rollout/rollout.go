// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Stage is the state of a rollout.
type Stage string

// The states.
const (
	Running  Stage = "running"  // the group has the share of the step, and takes the next step when it is due
	Paused   Stage = "paused"   // the group keeps its share until the rollout is resumed; the test continues
	Promoted Stage = "promoted" // the group gets all requests
	Aborted  Stage = "aborted"  // the group gets no requests
)

// Stages returns all states.
func Stages() []Stage { return []Stage{Running, Paused, Promoted, Aborted} }

// Action is what an operator does with a rollout.
type Action string

// The actions.
const (
	Pause   Action = "pause"
	Resume  Action = "resume" // restarts an aborted rollout from the first step
	Promote Action = "promote"
	Abort   Action = "abort"
)

// Actions returns all actions.
func Actions() []Action { return []Action{Pause, Resume, Promote, Abort} }

// epoch is the longest time over which the test adds up outcomes. Over longer times, many good outcomes would
// hide that a group has become worse.
const epoch = time.Hour

// Plan is the configuration of a rollout. Read-only.
type Plan struct {
	// Shares are the shares of the requests, from 0 to 1, one for each step, each above the one
	// before. There is at least one.
	Shares []float64
	// Every is how long a step lasts at least, above 0 if there are several.
	Every time.Duration
	// Abort are the rules by which the rollout is aborted; nil for no test.
	Abort *AbortRules
}

// Key returns a text that identifies the shares. If it changes, the rollout restarts.
func (p *Plan) Key() string { return strings.Trim(fmt.Sprint(p.Shares), "[]") }

// need is the least number of attempts in a step before the next one begins.
func (p *Plan) need() uint64 {
	if p.Abort != nil {
		return max(p.Abort.After, 1)
	}
	return 1
}

// Rollout is the state of the rollout of one group. It outlives the configuration. Times are readings of a
// monotonic clock. Safe for concurrent use.
type Rollout struct {
	// Counts are the outcomes of the group.
	Counts

	share  atomic.Uint64 // bits of the share; every request reads it
	closed atomic.Bool   // aborted
	aborts atomic.Uint64
	main   *Counts

	mu     sync.Mutex // guards the fields below
	plan   *Plan
	state  Stage
	step   int           // index in plan.Shares
	since  time.Duration // when the step began
	spent  time.Duration // how long the step has lasted, while paused
	reason string        // why it is aborted, or why the next step is delayed
	latest Action        // as in Record
	acted  uint64        // as in Record
	begun  uint64        // as in Record

	epochs             int // number of epochs of the test, including the current one
	epochAt            time.Duration
	before, mainBefore Total  // at the start of the epoch
	stepBefore         uint64 // attempts at the start of the step
}

// New returns a rollout. It continues as in the record r of an earlier process if that has the same shares, and
// else starts at the first step. r may be nil.
func New(plan *Plan, main *Counts, r *Record, now time.Duration) *Rollout {
	o := &Rollout{main: main}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begin(plan, now)
	if r != nil && r.Shares == plan.Key() && r.Step >= 0 && r.Step < len(plan.Shares) && slices.Contains(Stages(), r.State) {
		o.step, o.reason, o.latest, o.acted, o.begun = r.Step, r.Reason, r.Latest, r.Acted, r.Begun
		o.enter(r.State, now)
	}
	return o
}

// begin starts the plan at its first step. The caller must hold o.mu.
func (o *Rollout) begin(plan *Plan, now time.Duration) {
	o.plan, o.step, o.epochs, o.latest = plan, 0, 0, ""
	o.enter(Running, now)
}

// enter starts the current step in a state. The caller must hold o.mu.
func (o *Rollout) enter(s Stage, now time.Duration) {
	o.state, o.since, o.spent = s, now, 0
	if s != Aborted {
		o.reason = ""
	}
	share := o.plan.Shares[o.step]
	switch {
	case s == Aborted:
		share = 0
	case s == Promoted, s == Running && share == 1:
		o.state, share = Promoted, 1
	}
	o.share.Store(math.Float64bits(share))
	o.closed.Store(s == Aborted)
	o.stepBefore, _ = o.Attempts()
	o.restart(now)
}

// abort aborts the rollout. The caller must hold o.mu.
func (o *Rollout) abort(reason string, now time.Duration) {
	o.reason, o.latest = reason, Abort
	o.aborts.Add(1)
	o.enter(Aborted, now)
}

// restart starts the next epoch of the test. Each change of the share does so: within an epoch shares are constant,
// so that an incident that hits both groups has the same weight in both. The caller must hold o.mu.
func (o *Rollout) restart(now time.Duration) {
	o.epochs++
	o.epochAt, o.before, o.mainBefore = now, o.Total(), o.main.Total()
}

// Share returns the share of the requests that the group gets, from 0 to 1.
func (o *Rollout) Share() float64 { return math.Float64frombits(o.share.Load()) }

// Aborts returns how often the rollout was aborted in this process.
func (o *Rollout) Aborts() uint64 { return o.aborts.Load() }

// Open reports whether the group may get requests.
func (o *Rollout) Open() bool { return !o.closed.Load() }

// Adopt replaces the plan by that of a new configuration. If the shares differ, the rollout restarts, and Adopt
// returns true.
func (o *Rollout) Adopt(plan *Plan, now time.Duration) (anew bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.plan == plan {
		return false
	}
	if anew = o.plan.Key() != plan.Key(); anew {
		o.begin(plan, now)
		o.acted, o.begun = 0, 0 // actions belong to a plan
	}
	o.plan = plan
	return anew
}

// ErrStage is wrapped by the errors of actions that the state of the rollout forbids. Its text is the beginning
// of theirs.
var ErrStage = errors.New("the rollout is")

// Act applies an action of an operator, and reports whether it has changed anything. reason is the reason of an
// abort. The error wraps [ErrStage] if the state forbids the action; another error means that the action is
// unknown.
func (o *Rollout) Act(a Action, reason string, now time.Duration) (changed bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.act(a, reason, now)
}

// SetActed sets the version of the latest action; see [Record]. anew reports that the action has restarted the
// rollout.
func (o *Rollout) SetActed(version uint64, anew bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acted = version
	if anew {
		o.begun = version
	}
}

// Begun returns the version of the action that has restarted the rollout; see [Record].
func (o *Rollout) Begun() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun
}

// Follow applies the latest action of another instance, unless a later one was applied, and reports whether it has
// changed anything. begun is the other instance's [Rollout.Begun]: if it differs, a restart was missed, and is
// applied first. The step is otherwise not changed, since each instance takes the steps itself.
func (o *Rollout) Follow(a Action, reason string, version, begun uint64, now time.Duration) (changed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if version <= o.acted {
		return false
	}
	o.acted = version
	// Pause and resume need a rollout that is neither aborted nor promoted: where they were done, an earlier action
	// that has ended this one is not known. It may have been promoted by its last step instead, which the other
	// instance has still to take.
	ended := o.state == Aborted || o.state == Promoted && o.latest == Promote
	if begun != o.begun || ended && (a == Pause || a == Resume) {
		o.begin(o.plan, now)
		o.begun, changed = begun, true
	}
	acted, _ := o.act(a, reason, now)
	o.latest = a // also if the rollout was in that state
	return changed || acted
}

// act implements Act. The caller must hold o.mu.
func (o *Rollout) act(a Action, reason string, now time.Duration) (changed bool, err error) {
	switch {
	case a == Pause && o.state == Running:
		o.state, o.spent = Paused, now-o.since
	case a == Resume && o.state == Paused:
		o.state, o.since = Running, now-o.spent
	case a == Resume && o.state == Aborted:
		o.begin(o.plan, now)
	case a == Promote && o.state != Promoted:
		o.enter(Promoted, now)
	case a == Abort && o.state != Aborted:
		o.abort(reason, now)
	case a == Pause && o.state == Paused, a == Resume && o.state == Running, a == Promote, a == Abort:
		return false, nil
	case !slices.Contains(Actions(), a):
		return false, fmt.Errorf("unknown action %q; write pause, resume, promote or abort", a)
	case o.state == Promoted:
		return false, fmt.Errorf("%w promoted and has no steps left to %s; abort it to take its requests away", ErrStage, a)
	default:
		return false, fmt.Errorf("%w aborted; resume it to begin anew", ErrStage)
	}
	o.latest = a
	return true, nil
}

// Change is the result of [Rollout.Advance].
type Change int

// The changes.
const (
	Unchanged Change = iota
	Stepped          // the next step has begun
	Finished         // the last step has begun, and the group gets all requests
	Waiting          // the next step is due, but delayed; reported once for each step
	Failed           // the test has aborted the rollout
)

// Advance judges the group, and takes the next step if it is due. serves reports that the group has a backend
// that takes requests. instances is the number of instances that judge the group independently, at least 1; they
// share the risk of a false abort. The reason explains Waiting and Failed.
func (o *Rollout) Advance(now time.Duration, serves bool, instances int) (c Change, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != Running && o.state != Paused {
		return Unchanged, ""
	}
	if rules := o.plan.Abort; rules != nil {
		group, main := o.Total().Since(&o.before), o.main.Total().Since(&o.mainBefore)
		if why := rules.judge(&group, &main, alphaOf(o.epochs)/float64(instances)); why != "" {
			o.abort(why, now)
			return Failed, why
		}
		if now-o.epochAt >= epoch {
			o.restart(now)
		}
	}
	if o.state == Paused || o.step+1 >= len(o.plan.Shares) || now-o.since < o.plan.Every {
		return Unchanged, ""
	}
	attempts, _ := o.Attempts()
	waits := ""
	switch attempts -= o.stepBefore; {
	case !serves:
		waits = "no backend of the group that passes its checks takes requests"
	case attempts < o.plan.need():
		waits = fmt.Sprintf("%d of %d requests", attempts, o.plan.need())
	}
	if waits != "" {
		first := o.reason == ""
		if o.reason = waits; first {
			return Waiting, waits
		}
		return Unchanged, ""
	}
	o.step++
	if o.enter(Running, now); o.state == Promoted {
		return Finished, ""
	}
	return Stepped, ""
}

// Next returns the time until the next step is due. ok is false if there is no next step, or if it is due but
// delayed.
func (o *Rollout) Next(now time.Duration) (d time.Duration, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != Running || o.step+1 >= len(o.plan.Shares) {
		return 0, false
	}
	d = o.plan.Every - (now - o.since)
	return max(d, 0), d > 0 || o.reason == ""
}
