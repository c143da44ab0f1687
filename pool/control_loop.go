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
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
)

const (
	// tickEvery is how often a pool is looked at where no stalls are looked for.
	tickEvery = 250 * time.Millisecond
	// evaluateEvery is how often it is looked for intervals that are over, and for
	// load reports.
	evaluateEvery = time.Second
	// idleAfter is for how long there must be no attempts before the watcher
	// rests.
	idleAfter = time.Second
	// maxIdle is how long that is, if nothing wakes it before.
	maxIdle = time.Hour
)

// controlLoop looks after the members of one pool: it ends ejections, judges
// intervals, looks for stalls, has recovered backends ramp, guards against common
// causes, publishes views and says what has happened. It works while there are
// attempts, and rests while there are none. What it learns of a backend is in
// its state, and outlives it. All is done in its steps, but for the flags.
type controlLoop struct {
	periodic.Task[*Pool]
	statusChanged atomic.Bool // one has changed

	stalls      *healthcheck.Stalls  // nil for none
	guards      []*healthcheck.Guard // one for each check, nil for an agent
	panic       bool                 // what was announced
	evaluatedAt time.Duration
	active      time.Duration // when there were attempts
	begun       int64         // attempts, at that time
	averages    map[*backend.State]intervalLatency
}

// intervalLatency are a backend's latest average, and the end of its interval.
type intervalLatency struct {
	latency float64
	at      time.Duration
}

func newControlLoop(p *Pool) *controlLoop {
	w := &controlLoop{averages: make(map[*backend.State]intervalLatency)}
	if rules := p.Rules().Outliers; rules != nil && rules.Stall > 0 {
		w.stalls = healthcheck.NewStalls(rules.Stall, rules.ConsecutiveErrors)
	}
	for i, c := range p.checks {
		w.guards = append(w.guards, nil)
		if _, steers := c.Check.(healthcheck.AgentCheck); !steers && p.guard {
			w.guards[i] = healthcheck.NewGuard(i, c.Timing())
		}
	}
	w.Run, w.Interval = w.step, w.next
	p.OnActivity(w.Wake)
	return w
}

// step looks at everything once.
func (w *controlLoop) step(_ context.Context, p *Pool) (afterwards func()) {
	now, members := clock.Now(), p.View().Members.All
	changed := w.statusChanged.Swap(false)
	told := changed // whether there may be verdicts to tell of
	inCharge, judge := p.IsCurrent(), now-w.evaluatedAt >= evaluateEvery
	if changed || judge {
		changed = w.evaluateGuards(p, now, inCharge) || changed
		told = true
	}
	if !inCharge { // another configuration sees to the rest
		if changed {
			p.Publish()
		}
		return nil
	}
	if rules := p.Rules().Outliers; rules != nil {
		changed = w.expireEjections(p, now, members) || changed
		if judge {
			w.evaluateIntervals(p, rules, now, members)
		}
		if w.stalls != nil {
			stalled, suspected := w.stalls.Evaluate(now, p.View().Members)
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
		w.evaluatedAt = now
		changed = p.Reporting() && backend.UseReports(now, members) || changed
	}
	if w.announceEjections(p) || changed {
		p.Publish()
	}
	if told {
		w.announceStatuses(p)
	}
	w.announcePanic(p)
	w.announceShortage(p)
	w.prune(members)
	return nil
}

// prune drops what is known of backends that have left, when it is as much as
// of those that have not.
func (w *controlLoop) prune(members []*backend.Backend) {
	if len(w.averages) <= 2*len(members) {
		return
	}
	here := make(map[*backend.State]bool, len(members))
	for _, b := range members {
		here[b.State] = true
	}
	maps.DeleteFunc(w.averages, func(s *backend.State, _ intervalLatency) bool { return !here[s] })
}

// next returns when to look again.
func (w *controlLoop) next(p *Pool) time.Duration {
	now, begun := clock.Now(), int64(0)
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
			return min(w.stalls.Every(), tickEvery)
		}
		return tickEvery
	}
	rest := maxIdle
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
				rest = min(rest, max(evaluateEvery, ends-now))
			}
		}
	}
	return rest
}

// evaluateGuards has the guards judge.
func (w *controlLoop) evaluateGuards(p *Pool, now time.Duration, aloud bool) (changed bool) {
	for i, g := range w.guards {
		if g == nil {
			continue
		}
		was := g.On()
		failing, of, turned := g.Evaluate(now, p.Pool)
		changed = turned || changed
		if aloud && g.On() != was {
			p.announceGuard(&p.checks[i], g.On(), failing, of)
		}
	}
	return changed
}

// expireEjections lets those be tried whose ejections are over.
func (w *controlLoop) expireEjections(p *Pool, now time.Duration, members []*backend.Backend) (changed bool) {
	for _, b := range members {
		if b.EjectionState() != backend.Ejected {
			continue
		}
		if p.recovered(b) {
			b.ExpireNow()
		}
		changed = b.Expire(now) || changed
	}
	return changed
}

// recovered reports whether the checks have seen a backend that is ejected because nobody
// was there: each has passed as often in a row as brings it up, and the more often the
// oftener it was ejected of late.
func (p *Pool) recovered(b *backend.Backend) bool {
	r, probed := b.EjectionReport(), false
	if !r.OnlyNoConnection {
		return false
	}
	for i, c := range p.checks {
		if _, steers := c.Check.(healthcheck.AgentCheck); steers {
			continue
		}
		if probed = true; b.Statuses()[i].PassesInRow() < c.Timing().Passes*r.Times {
			return false
		}
	}
	return probed
}

// evaluateIntervals ejects for what intervals that are over have shown.
func (w *controlLoop) evaluateIntervals(p *Pool, rules *backend.OutlierRules, now time.Duration, members []*backend.Backend) {
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
		w.averages[b.State] = intervalLatency{latency, now}
	}
	if rules.Latency == 0 || len(over) == 0 {
		return
	}
	all := make([]float64, 0, len(members))
	for _, b := range members {
		if t := w.averages[b.State]; t.latency > 0 && now-t.at < 2*rules.Interval {
			all = append(all, t.latency)
		}
	}
	for _, b := range healthcheck.Slow(over, func(b *backend.Backend) float64 { return w.averages[b.State].latency }, all, rules.Latency) {
		p.Eject(b, healthcheck.SlowReason(w.averages[b.State].latency, all), false)
	}
}

// adopt takes what earlier configurations have announced as known. It must be
// called before the watcher starts.
func (w *controlLoop) adopt(p *Pool, members []*member) {
	for _, m := range members {
		m.EjectionChanged()
	}
	for _, g := range w.guards {
		if g != nil {
			g.Resume(p.View().Members.All)
		}
	}
	w.statusChanged.Store(true)
}
