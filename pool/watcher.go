// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

const (
	// lookEvery is how often a pool is looked at where no stalls are looked for.
	lookEvery = 250 * time.Millisecond
	// judgeEvery is how often it is looked for intervals that are over, and for
	// load reports.
	judgeEvery = time.Second
	// idleAfter is for how long there must be no attempts before the watcher
	// rests.
	idleAfter = time.Second
	// resting is how long that is, if nothing wakes it before.
	resting = time.Hour
)

// watcher looks after the members of one pool: it ends ejections, judges
// intervals, looks for stalls, has recovered backends ramp, guards against common
// causes, publishes views and says what has happened. It works while there are
// attempts, and rests while there are none. What it learns of a backend is in
// its state, and outlives it. All is done in its steps, but for the flags.
type watcher struct {
	lease.Periodic[*Pool]
	verdicts atomic.Bool // one has changed

	stalls *healthcheck.Stalls  // nil for none
	guards []*healthcheck.Guard // one for each check, nil for an agent
	panic  bool                 // what was announced
	judged time.Duration
	active time.Duration // when there were attempts
	begun  int64         // attempts, at that time
	times  map[*backend.State]latencies
}

// latencies are a backend's latest average, and the end of its interval.
type latencies struct {
	latency float64
	at      time.Duration
}

func newWatcher(p *Pool) *watcher {
	w := &watcher{times: make(map[*backend.State]latencies)}
	if rules := p.Rules().Outliers; rules != nil && rules.Stall > 0 {
		w.stalls = healthcheck.NewStalls(rules.Stall, rules.ConsecutiveErrors)
	}
	for i, c := range p.checks {
		w.guards = append(w.guards, nil)
		if _, steers := c.Check.(healthcheck.Steering); !steers && p.guard {
			w.guards[i] = healthcheck.NewGuard(i, c.Timing())
		}
	}
	w.Run, w.Interval = w.step, w.next
	p.OnActivity(w.Wake)
	return w
}

// step looks at everything once.
func (w *watcher) step(_ context.Context, p *Pool) (afterwards func()) {
	now, members := backend.Now(), p.View().Members.All
	changed := w.verdicts.Swap(false)
	told := changed // whether there may be verdicts to tell of
	inCharge, judge := p.IsCurrent(), now-w.judged >= judgeEvery
	if changed || judge {
		changed = w.ask(p, now, inCharge) || changed
		told = true
	}
	if !inCharge { // another configuration sees to the rest
		if changed {
			p.Publish()
		}
		return nil
	}
	if rules := p.Rules().Outliers; rules != nil {
		changed = w.returns(p, now, members) || changed
		if judge {
			w.judge(p, rules, now, members)
		}
		if w.stalls != nil {
			stalled, suspected := w.stalls.Look(now, p.View().Members)
			for _, b := range stalled {
				p.Eject(b, "requests wait and none is answered", false)
			}
			p.probe(suspected)
		}
	}
	if p.Rules().SlowStart.Window > 0 {
		for _, b := range members {
			changed = p.Rules().SlowStart.Advance(now, b) || changed
		}
	}
	if judge {
		w.judged = now
		changed = p.Reporting() && backend.UseReports(now, members) || changed
	}
	if w.tellEjections(p) || changed {
		p.Publish()
	}
	if told {
		w.tellVerdicts(p)
	}
	w.tellPanic(p)
	w.tellShortage(p)
	w.forget(members)
	return nil
}

// forget drops what is known of backends that have left, when it is as much as
// of those that have not.
func (w *watcher) forget(members []*backend.Backend) {
	if len(w.times) <= 2*len(members) {
		return
	}
	here := make(map[*backend.State]bool, len(members))
	for _, b := range members {
		here[b.State] = true
	}
	maps.DeleteFunc(w.times, func(s *backend.State, _ latencies) bool { return !here[s] })
}

// next returns when to look again.
func (w *watcher) next(p *Pool) time.Duration {
	now, begun := backend.Now(), int64(0)
	members := p.View().Members.All
	if w.stalls != nil {
		begun = w.stalls.Begun()
	} else {
		for _, b := range members {
			begun += b.Progress().Begun
		}
	}
	if begun != w.begun || p.InFlight() > 0 {
		w.begun, w.active = begun, now
	}
	if now-w.active < idleAfter || !p.GoIdle() {
		if w.stalls != nil {
			return min(w.stalls.Every(), lookEvery)
		}
		return lookEvery
	}
	rest := resting
	for _, g := range w.guards {
		if g != nil && g.On() {
			rest = min(rest, g.Every())
		}
	}
	if rules := p.Rules().Outliers; rules != nil {
		for _, b := range members {
			if b.EjectionState() == backend.Ejected {
				rest = min(rest, max(0, b.EjectionReport().Until-now))
			}
			if ends, pending := b.NextEvaluation(rules); pending {
				rest = min(rest, max(judgeEvery, ends-now))
			}
		}
	}
	return rest
}

// ask has the guards judge.
func (w *watcher) ask(p *Pool, now time.Duration, aloud bool) (changed bool) {
	for i, g := range w.guards {
		if g == nil {
			continue
		}
		was := g.On()
		failing, of, turned := g.Judge(now, p.Pool)
		changed = turned || changed
		if aloud && g.On() != was {
			p.tellGuard(&p.checks[i], g.On(), failing, of)
		}
	}
	return changed
}

// returns lets those be tried whose ejections are over.
func (w *watcher) returns(p *Pool, now time.Duration, members []*backend.Backend) (changed bool) {
	for _, b := range members {
		if b.EjectionState() != backend.Ejected {
			continue
		}
		if p.isBack(b) {
			b.ExpireNow()
		}
		changed = b.Expire(now) || changed
	}
	return changed
}

// isBack reports whether the checks have seen a backend that is ejected because nobody
// was there: each has passed as often in a row as brings it up, and the more often the
// oftener it was ejected of late.
func (p *Pool) isBack(b *backend.Backend) bool {
	r, probed := b.EjectionReport(), false
	if !r.OnlyNoConnection {
		return false
	}
	for i, c := range p.checks {
		if _, steers := c.Check.(healthcheck.Steering); steers {
			continue
		}
		if probed = true; b.Statuses()[i].PassesInRow() < c.Timing().Passes*r.Times {
			return false
		}
	}
	return probed
}

// judge ejects for what intervals that are over have shown.
func (w *watcher) judge(p *Pool, rules *backend.OutlierRules, now time.Duration, members []*backend.Backend) {
	var over []*backend.Backend
	for _, b := range members {
		reason, gone, latency, ok := b.EvaluateInterval(rules, now)
		if !ok {
			continue
		}
		if reason != "" {
			p.Eject(b, reason, gone)
		}
		over = append(over, b)
		w.times[b.State] = latencies{latency, now}
	}
	if rules.Latency == 0 || len(over) == 0 {
		return
	}
	all := make([]float64, 0, len(members))
	for _, b := range members {
		if t := w.times[b.State]; t.latency > 0 && now-t.at < 2*rules.Interval {
			all = append(all, t.latency)
		}
	}
	for _, b := range healthcheck.Slow(over, func(b *backend.Backend) float64 { return w.times[b.State].latency }, all, rules.Latency) {
		p.Eject(b, healthcheck.SlowReason(w.times[b.State].latency, all), false)
	}
}

// settle takes what earlier configurations have announced as known. It must be
// called before the watcher starts.
func (w *watcher) settle(p *Pool, members []*member) {
	for _, m := range members {
		m.EjectionChanged()
	}
	for _, g := range w.guards {
		if g != nil {
			g.Adopt(p.View().Members.All)
		}
	}
	w.verdicts.Store(true)
}
