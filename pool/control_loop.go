// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
	"github.com/ballast-lb/caddy-ballast/internal/loadreport"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

const (
	// tickEvery is the interval of the control loop without stall detection, and its upper
	// bound with it.
	tickEvery = 250 * time.Millisecond
	// evaluateEvery is how often ended intervals and load reports are evaluated.
	evaluateEvery = time.Second
	// idleAfter is the time without attempts after which the control loop goes idle.
	idleAfter = time.Second
	// maxIdle bounds the idle time if nothing wakes the loop.
	maxIdle = time.Hour
)

// controlLoop is the periodic task of one pool: it expires ejections, evaluates intervals,
// detects stalls, advances ramps, evaluates the guards against common causes, publishes views
// and announces changes. It runs while there are attempts, and is idle otherwise. The results
// are in the state of each backend, which outlives the loop. Only step uses the fields, except
// for the flag.
type controlLoop struct {
	periodic.Task[*Pool]
	statusChanged atomic.Bool // a status has changed since the last step

	stalls      []*outlier.Stalls[*backend.Backend] // one for each set of peers; nil: no stall detection
	guards      [][]*health.Guard[*backend.Backend] // one for each group, for each check; nil for an agent
	peers       [][]*backend.Backend                // the members, in sets whose requests are comparable
	groupless   []*backend.Backend                  // the members of unknown groups, which have no guard
	peersOf     *pool.Members                       // the members of peers
	panics      []string                            // groups in panic, last announced
	evaluatedAt time.Duration
	hedgedAt    time.Duration // when the delays of second attempts were updated
	active      time.Duration // time of the last attempts
	begun       int64         // number of attempts at that time
	averages    map[*backend.State]intervalLatency
}

// intervalLatency is the latest average latency of a backend, and the end of its interval.
type intervalLatency struct {
	latency float64
	at      time.Duration
}

func newControlLoop(p *Pool) *controlLoop {
	w := &controlLoop{averages: make(map[*backend.State]intervalLatency)}
	if rules := p.Options().Outliers; rules != nil && rules.Stall > 0 {
		for range p.comparable(p.View()) {
			w.stalls = append(w.stalls, outlier.NewStalls[*backend.Backend](rules.Stall, rules.ConsecutiveErrors))
		}
	}
	for i, c := range p.checks {
		var guards []*health.Guard[*backend.Backend]
		for n := 0; n <= len(p.Groups()) && !c.steers() && p.guard; n++ {
			guards = append(guards, health.NewGuard[*backend.Backend](i, resultsWithin(c.Timing())))
		}
		w.guards = append(w.guards, guards)
	}
	w.Run, w.Interval = w.step, w.next
	p.OnActivity(w.Wake)
	return w
}

// resultsWithin returns the longest time between two results of a check.
func resultsWithin(s *healthcheck.Schedule) time.Duration {
	return time.Duration(float64(s.Interval)*(1+*s.Jitter)) + time.Duration(s.Timeout)
}

// wakeForStatus makes the next step, which begins at once, evaluate the statuses.
func (w *controlLoop) wakeForStatus() {
	w.statusChanged.Store(true)
	w.Wake()
}

// step evaluates everything once.
func (w *controlLoop) step(_ context.Context, p *Pool) (afterwards func()) {
	now, members := clock.Now(), p.View().Members.All
	changed := w.statusChanged.Swap(false)
	statusChanged := changed // whether statuses must be announced
	if v := p.View(); v.Members != w.peersOf {
		w.peers, w.peersOf = p.comparable(v), v.Members
		w.groupless = slices.DeleteFunc(slices.Clone(v.Members.All), func(b *backend.Backend) bool { return p.GroupOf(b) != group.Unknown })
	}
	current, judge := p.IsCurrent(), now-w.evaluatedAt >= evaluateEvery
	if changed || judge {
		changed = p.endJoins() || changed
		changed = w.evaluateGuards(p, now, current) || changed
		statusChanged = true
	}
	if !current { // the pool of the current configuration does the rest
		if changed {
			p.Publish()
		}
		return nil
	}
	if rules := p.Options().Outliers; rules != nil {
		changed = w.expireEjections(p, now, members) || changed
		if judge {
			for _, peers := range w.peers {
				w.evaluateIntervals(p, rules, now, peers)
			}
		}
		w.evaluateStalls(p, now)
	}
	if p.Options().SlowStart.Window > 0 {
		for _, b := range members {
			changed = p.Options().SlowStart.Advance(now, b) || changed
		}
	}
	if h := p.Options().Hedge; h != nil && now-w.hedgedAt >= hedge.UpdateEvery {
		w.hedgedAt = now
		for _, peers := range w.peers {
			hedge.UpdateDelays(h, now, peers)
		}
	}
	if judge {
		w.evaluatedAt = now
		for _, part := range p.View().EachGroup() {
			changed = p.Reporting() && loadreport.UseReports(now, part.Own.All) || changed
		}
		changed = p.UpdateLocality(now) || changed
	}
	if w.announceEjections(p) || changed {
		p.Publish()
	}
	if statusChanged {
		w.announceStatuses(p)
		p.closeStreams(members...)
	}
	w.announcePanics(p)
	w.announceShortage(p)
	w.prune(members)
	if judge && w.advanceRollouts(p, now) {
		return func() { _ = p.flush() } // an error is logged
	}
	return nil
}

// evaluateStalls ejects the backends that are silent while others answer, and probes those that may be.
func (w *controlLoop) evaluateStalls(p *Pool, now time.Duration) {
	for i, s := range w.stalls {
		stalled, suspected := s.Evaluate(now, w.peers[i])
		for _, b := range stalled {
			p.Eject(b, "no response to the waiting requests", false)
		}
		p.probe(suspected)
	}
}

// prune drops departed backends once they outnumber the members.
func (w *controlLoop) prune(members []*backend.Backend) {
	if len(w.averages) <= 2*len(members) {
		return
	}
	present := make(map[*backend.State]bool, len(members))
	for _, b := range members {
		present[b.State] = true
	}
	maps.DeleteFunc(w.averages, func(s *backend.State, _ intervalLatency) bool { return !present[s] })
}

// next returns the time until the next step.
func (w *controlLoop) next(p *Pool) time.Duration {
	now, begun := clock.Now(), int64(0)
	members := p.View().Members.All
	if w.stalls != nil {
		for _, s := range w.stalls {
			begun += s.Begun()
		}
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
			return min(w.stalls[0].Every(), tickEvery)
		}
		return tickEvery
	}
	rest := maxIdle
	if d, due := nextRollout(p, now); due {
		rest = min(rest, max(d, tickEvery))
	}
	for _, g := range slices.Concat(w.guards...) {
		if g.On() {
			rest = min(rest, g.Every())
		}
	}
	if rules := p.Options().Outliers; rules != nil {
		for _, b := range members {
			if b.EjectionState() == outlier.Ejected {
				rest = min(rest, max(0, b.EjectionReport().Until-now))
			}
			if ends, pending := b.NextEvaluation(rules); pending {
				rest = min(rest, max(evaluateEvery, ends-now))
			}
		}
	}
	return rest
}

// evaluateGuards evaluates the guards of each check. If announce is set, it announces changes.
func (w *controlLoop) evaluateGuards(p *Pool, now time.Duration, announce bool) (changed bool) {
	v := p.View()
	for _, b := range w.groupless { // the guard of their group may have held them
		for _, s := range b.Statuses() {
			changed = s.Suppress(false) || changed
		}
	}
	for i, guards := range w.guards {
		if guards == nil {
			continue
		}
		covered := p.covered(v, guards[0].Healthy)
		for n, g := range guards {
			was := g.On()
			failing, considered, turned := g.Evaluate(now, v.Of(n).Own.Used, covered[n]) // other members are not probed
			changed = turned || changed
			if announce && g.On() != was {
				p.announceGuard(&p.checks[i], p.GroupName(n), g.On(), failing, considered)
			}
		}
	}
	return changed
}

// expireEjections starts the trials of the backends whose ejection time is over.
func (w *controlLoop) expireEjections(p *Pool, now time.Duration, members []*backend.Backend) (changed bool) {
	for _, b := range members {
		if b.EjectionState() != outlier.Ejected {
			continue
		}
		if p.recovered(b) {
			b.ExpireNow(now)
		}
		changed = b.Expire(now) || changed
	}
	return changed
}

// recovered reports whether a backend that was ejected for failed connections alone has passed
// its checks since. Each check must have passed as many times in a row as it needs to bring a
// backend up, times the number of recent ejections. Agents do not count.
func (p *Pool) recovered(b *backend.Backend) bool {
	r, probed := b.EjectionReport(), false
	if !r.OnlyNoConnection {
		return false
	}
	for i, c := range p.checks {
		if c.steers() {
			continue
		}
		if probed = true; b.Statuses()[i].PassesInRow() < c.Timing().Passes*r.Times {
			return false
		}
	}
	return probed
}

// evaluateIntervals ejects backends because of the results of ended intervals. members are comparable.
func (w *controlLoop) evaluateIntervals(p *Pool, rules *outlier.Rules, now time.Duration, members []*backend.Backend) {
	var over []*backend.Backend
	for _, b := range members {
		v, ok := b.EvaluateInterval(rules, now)
		if !ok {
			continue
		}
		if v.Reason != "" {
			p.Eject(b, v.Reason, v.NoConnection)
		}
		over = append(over, b)
		w.averages[b.State] = intervalLatency{v.Latency, now}
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
	for _, b := range outlier.Slow(over, func(b *backend.Backend) float64 { return w.averages[b.State].latency }, all, rules.Latency) {
		p.Eject(b, outlier.SlowReason(w.averages[b.State].latency, all), false)
	}
}

// adopt marks what earlier configurations have announced as announced. It must be called before
// the control loop starts.
func (w *controlLoop) adopt(p *Pool, members []*member) {
	for _, m := range members {
		m.EjectionChanged()
	}
	v := p.View()
	for _, guards := range w.guards {
		for n, g := range guards {
			g.Resume(v.Of(n).Own.All)
		}
	}
	w.statusChanged.Store(true)
}
