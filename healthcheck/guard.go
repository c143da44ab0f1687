// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// failingShare is the share of failed attempts from which on a backend's traffic
// does not succeed.
const failingShare = 0.5

// Guard keeps backends up when most of a pool fail one check at once, while their
// traffic succeeds: then something they share is at fault, such as the load that
// makes probes wait, or what /health asks, and taking all down would be an outage
// that nobody had. It brings nobody up. To be used by one goroutine.
type Guard struct {
	check    int           // its place among a pool's
	within   time.Duration // one interval, with its jitter, and a timeout
	on       bool
	since    time.Duration // when the failures began that it holds
	commonAt time.Duration // when most of the pool were last seen to fail together
}

// NewGuard returns the guard of the check at the given place.
func NewGuard(check int, s *Schedule) *Guard {
	return &Guard{check: check, within: time.Duration(float64(s.Interval)*(1+*s.Jitter)) + time.Duration(s.Timeout)}
}

// Resume goes on where the guard of an earlier configuration has left off.
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
	for _, since := range failing { // those that went down before most were seen to fail
		if g.on && since < g.since && held-since <= g.within {
			g.since = since
		}
	}
}

// On reports whether it holds.
func (g *Guard) On() bool { return g.on }

// Every returns how often to judge while it is on.
func (g *Guard) Every() time.Duration { return min(g.within, time.Second) }

// suspect is a backend that fails the check.
type suspect struct {
	*backend.Backend
	since time.Duration
}

// Evaluate turns itself on or off, and reports how many backends fail the check of how
// many that it looks at, and whether what a verdict counts as has changed. Tiers whose
// requests others can take are taken at the check's word.
func (g *Guard) Evaluate(now time.Duration, p *backend.Pool) (failing, of int, changed bool) {
	members := p.View().Members.All
	var suspects, serving []suspect
	covered := g.covered(p, members)
	for _, b := range members {
		v := b.Statuses()[g.check]
		since, fails := v.Failing()
		switch {
		case !fails && !v.Passing(): // it passes too few yet to be up by itself
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
		// What failed before has a reason of its own.
		common = slices.DeleteFunc(serving, func(s suspect) bool { return s.since < g.since })
	} else if common = largestCluster(serving, g.within); len(common) > 0 {
		g.since = common[0].since
	}
	if 2*len(common) > of {
		g.commonAt = now
	}
	// Those that recover do so one after the other, within an interval.
	may := len(common) > 0 && (now == g.commonAt || g.on && now-g.commonAt <= g.within) && g.succeed(now, common)
	g.on = false
	for _, s := range suspects { // also those that get no new requests
		v := s.Statuses()[g.check]
		// Who was seen down stays down.
		hold := may && v.Up() && s.since >= g.since && s.Failing() < failingShare
		g.on = g.on || hold
		changed = v.Suppress(hold) || changed
	}
	return len(common), of, changed
}

// covered returns a function that reports whether other tiers can take the requests
// of a backend's tier: not with backends that fail the check themselves, or are held.
// Backups are no reason to believe the check, since requests show that it errs.
func (g *Guard) covered(p *backend.Pool, members []*backend.Backend) func(*backend.Backend) bool {
	return p.Covered(members, func(b *backend.Backend) bool {
		_, fails := b.Statuses()[g.check].Failing()
		return !fails && !b.Suppressed() && b.Open()
	})
}

// succeed reports whether the traffic of suspects succeeds: of more of them than
// not, among those that have had any of late.
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

// largestCluster returns the most suspects that began to fail within a time.
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
