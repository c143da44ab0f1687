// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// failingShare is the share of failed attempts from which a backend's traffic does not count
// as successful.
const failingShare = 0.5

// Guard suppresses common-cause failures: it keeps backends up when most of a pool fail one
// check at once while their traffic succeeds. The cause is then something shared, such as
// load that delays probes, or a dependency of /health, and marking all backends down would
// turn a probe problem into an outage. It never marks a backend up. It is for one goroutine.
type Guard struct {
	check    int           // index of the check in the pool
	within   time.Duration // one interval with its jitter, plus a timeout
	on       bool
	since    time.Duration // start of the failures that it suppresses
	commonAt time.Duration // when most of the pool were last seen failing together
}

// NewGuard returns the guard of the check at the given index.
func NewGuard(check int, s *Schedule) *Guard {
	return &Guard{check: check, within: time.Duration(float64(s.Interval)*(1+*s.Jitter)) + time.Duration(s.Timeout)}
}

// Resume continues the suppression of an earlier configuration's guard.
func (g *Guard) Resume(members []*backend.Backend) {
	var failing []time.Duration
	for _, b := range members {
		v := b.Statuses()[g.check]
		since, fails := v.Failing()
		if !fails {
			continue
		}
		failing = append(failing, since)
		if v.Suppressed() && (!g.on || since < g.since) {
			g.on, g.since, g.commonAt = true, since, clock.Now()
		}
	}
	held := g.since
	for _, since := range failing { // backends that failed before the majority was reached
		if g.on && since < g.since && held-since <= g.within {
			g.since = since
		}
	}
}

// On reports whether the guard suppresses failures.
func (g *Guard) On() bool { return g.on }

// Every returns the interval of Evaluate while the guard is on.
func (g *Guard) Every() time.Duration { return min(g.within, time.Second) }

// suspect is a backend that fails the check.
type suspect struct {
	*backend.Backend
	since time.Duration
}

// Evaluate turns the guard on or off. It returns the number of backends with common failures,
// the number of backends considered, and whether the effect of any status changed. It does
// not protect tiers whose requests other tiers can take.
func (g *Guard) Evaluate(now time.Duration, p *pool.Pool) (failing, of int, changed bool) {
	members := p.View().Members.All
	var suspects, serving []suspect
	covered := g.covered(p, members)
	for _, b := range members {
		v := b.Statuses()[g.check]
		since, fails := v.Failing()
		switch {
		case !fails && !v.Passing(): // not enough passes yet to be up without the guard
		case !fails || covered(b):
			changed = v.Suppress(false) || changed
		default:
			suspects = append(suspects, suspect{b, since})
		}
		if b.Admitted() && b.EffectiveWeight() > 0 && !covered(b) {
			of++
			if fails {
				serving = append(serving, suspect{b, since})
			}
		}
	}
	common := serving
	if g.on {
		// Earlier failures have a cause of their own.
		common = slices.DeleteFunc(serving, func(s suspect) bool { return s.since < g.since })
	} else if common = largestCluster(serving, g.within); len(common) > 0 {
		g.since = common[0].since
	}
	if 2*len(common) > of {
		g.commonAt = now
	}
	// Backends recover one after the other, within an interval.
	may := len(common) > 0 && (now == g.commonAt || g.on && now-g.commonAt <= g.within) && g.succeed(now, common)
	g.on = false
	for _, s := range suspects { // also those that get no new requests
		v := s.Statuses()[g.check]
		// A backend that was seen down stays down.
		hold := may && v.Up() && s.since >= g.since && s.Failing() < failingShare
		g.on = g.on || hold
		changed = v.Suppress(hold) || changed
	}
	return len(common), of, changed
}

// covered returns a function that reports whether other tiers can take the requests of a
// backend's tier, with open backends that neither fail the check nor are suppressed. Backups
// are not a reason to believe the check, since requests show that it errs.
func (g *Guard) covered(p *pool.Pool, members []*backend.Backend) func(*backend.Backend) bool {
	return p.Covered(members, func(b *backend.Backend) bool {
		_, fails := b.Statuses()[g.check].Failing()
		return !fails && !b.Suppressed() && b.Open()
	})
}

// succeed reports whether the traffic of more suspects succeeds than fails, among those with
// recent traffic.
func (g *Guard) succeed(now time.Duration, suspects []suspect) bool {
	good, bad := 0, 0
	for _, s := range suspects {
		p := s.Progress()
		switch {
		case s.Failing() >= failingShare:
			bad++
		case p.AnsweredAt > 0 && now-p.AnsweredAt <= g.within:
			good++
		}
	}
	return good > bad
}

// largestCluster returns the most suspects whose failures began within the given time.
func largestCluster(suspects []suspect, within time.Duration) (most []suspect) {
	slices.SortFunc(suspects, func(a, b suspect) int { return int(a.since - b.since) })
	first := 0
	for last := range suspects {
		for suspects[last].since-suspects[first].since > within {
			first++
		}
		if n := last - first + 1; n > len(most) {
			most = suspects[first : last+1]
		}
	}
	return most
}
