// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// GuardMember is a backend of the pool of a [Guard].
type GuardMember interface {
	// Statuses returns the statuses of the checks, in their order.
	Statuses() []*Status
	// Admitted reports whether operators and agents allow requests.
	Admitted() bool
	// Open reports whether operators, agents and checks allow requests.
	Open() bool
	// Suppressed reports whether the failures of a check are suppressed.
	Suppressed() bool
	// EffectiveWeight returns the current weight.
	EffectiveWeight() float64
	// FailingShare returns the share of failed attempts in the recent traffic.
	FailingShare() float64
	// AnsweredAt returns when the latest response header came, as of [clock.Now]; 0 for never.
	AnsweredAt() time.Duration
}

// failingShare is the share of failed attempts at which a backend's traffic no longer counts as
// successful.
const failingShare = 0.5

// Guard suppresses common-cause failures: it keeps backends up when most of a pool fail one check
// at once while their traffic succeeds. The cause is then common, such as load that delays probes,
// or a dependency of /health, and marking all backends down would cause an outage. It never marks a
// backend up. It is for one goroutine.
type Guard[M GuardMember] struct {
	check    int           // index of the check in the pool
	within   time.Duration // one interval with its jitter, plus a timeout
	on       bool
	since    time.Duration // start of the failures that it suppresses
	commonAt time.Duration // when most of the pool last failed together
}

// NewGuard returns the guard of the check at the given index. within is the time between two
// results of the check, at most.
func NewGuard[M GuardMember](check int, within time.Duration) *Guard[M] {
	return &Guard[M]{check: check, within: within}
}

// Resume continues the suppression of an earlier configuration's guard.
func (g *Guard[M]) Resume(members []M) {
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
func (g *Guard[M]) On() bool { return g.on }

// Every returns the interval of Evaluate while the guard is on.
func (g *Guard[M]) Every() time.Duration { return min(g.within, time.Second) }

// suspect is a backend that fails the check.
type suspect[M GuardMember] struct {
	member M
	since  time.Duration
}

// Evaluate turns the guard on or off. It returns the number of backends with common failures, the
// number of backends considered, and whether the effect of any status changed. It does not hold the
// status of covered backends: those in tiers whose requests other tiers can take, see
// [Guard.Healthy].
func (g *Guard[M]) Evaluate(now time.Duration, members []M, covered func(M) bool) (failing, considered int, changed bool) {
	var suspects, serving []suspect[M]
	for _, b := range members {
		v := b.Statuses()[g.check]
		since, fails := v.Failing()
		switch {
		case !fails && !v.Passing(): // not enough passes yet to be up without the guard
		case !fails || covered(b):
			changed = v.Suppress(false) || changed
		default:
			suspects = append(suspects, suspect[M]{b, since})
		}
		if b.Admitted() && b.EffectiveWeight() > 0 && !covered(b) {
			considered++
			if fails {
				serving = append(serving, suspect[M]{b, since})
			}
		}
	}
	common := serving
	if g.on {
		// Earlier failures have another cause.
		common = slices.DeleteFunc(serving, func(s suspect[M]) bool { return s.since < g.since })
	} else if common = largestCluster(serving, g.within); len(common) > 0 {
		g.since = common[0].since
	}
	if 2*len(common) > considered {
		g.commonAt = now
	}
	// Backends recover one after the other, within an interval.
	may := len(common) > 0 && (now == g.commonAt || g.on && now-g.commonAt <= g.within) && g.succeed(now, common)
	g.on = false
	for _, s := range suspects { // including those that get no new requests
		v := s.member.Statuses()[g.check]
		// A backend that was down before stays down.
		hold := may && v.Up() && s.since >= g.since && s.member.FailingShare() < failingShare
		g.on = g.on || hold
		changed = v.Suppress(hold) || changed
	}
	return len(common), considered, changed
}

// Healthy reports whether a backend can take the requests of another tier: it is open, and
// neither fails the check nor is suppressed.
func (g *Guard[M]) Healthy(b M) bool {
	_, fails := b.Statuses()[g.check].Failing()
	return !fails && !b.Suppressed() && b.Open()
}

// succeed reports whether the traffic of more suspects succeeds than fails, among those with
// recent traffic.
func (g *Guard[M]) succeed(now time.Duration, suspects []suspect[M]) bool {
	good, bad := 0, 0
	for _, s := range suspects {
		answeredAt := s.member.AnsweredAt()
		switch {
		case s.member.FailingShare() >= failingShare:
			bad++
		case answeredAt > 0 && now-answeredAt <= g.within:
			good++
		}
	}
	return good > bad
}

// largestCluster returns the largest set of suspects whose failures began within the given time.
func largestCluster[M GuardMember](suspects []suspect[M], within time.Duration) (most []suspect[M]) {
	slices.SortFunc(suspects, func(a, b suspect[M]) int { return int(a.since - b.since) })
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
