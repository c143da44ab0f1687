// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// recordOutcome counts the outcome of an attempt for outlier detection, and ejects the backend if
// the outcome is a reason to.
func (b *Backend) recordOutcome(a *Attempt, waited time.Duration, err error, gone bool, failure outlier.Failure) {
	rules := b.shared.outliers
	if rules != nil && err != nil && gone && a.Status == 0 && rules.Stall > 0 && waited >= rules.AnsweredInTime() {
		b.timedOut.Add(1)
		if a.Affinity != Unbound {
			b.bound.timedOut.Add(1)
		}
	}
	d := b.Ejection.RecordOutcome(&outlier.AttemptOutcome{
		Status: a.Status, Error: a.Error, Err: err, Abandoned: gone, Failure: failure,
		Exempt: a.Exempt != outlier.NoFailure, Trial: a.trial, Waited: waited,
	}, rules)
	switch {
	case d.Reason == "":
	case d.Trial:
		b.Eject(clock.Now(), rules, d.Reason, d.NoConnection)
	default:
		b.shared.owner.Eject(b, d.Reason, d.NoConnection)
	}
}

// Eject ejects the backend, see [outlier.Ejection.Eject]. Passing probes from now on then show that the
// backend has come back.
func (b *Backend) Eject(now time.Duration, rules *outlier.Rules, reason string, noConnection bool) {
	for _, v := range b.statuses {
		v.ResetPasses()
	}
	b.Ejection.Eject(now, rules, reason, noConnection)
}

// EvaluateInterval is as [outlier.Ejection.EvaluateInterval], with the counts of the backend.
func (s *State) EvaluateInterval(rules *outlier.Rules, now time.Duration) (i outlier.Evaluation, over bool) {
	return s.Ejection.EvaluateInterval(rules, now, outlier.IntervalCounts{
		Ended: s.ended(), Answered: s.answered.Load(), FirstByte: time.Duration(s.firstByte.Load()),
		Bodies: s.bodies.Load(), Body: time.Duration(s.bodyByte.Load()),
	})
}

// Breaker returns the circuit breaker.
func (s *State) Breaker() *outlier.Ejection { return &s.Ejection }

// FailedSince reports whether the latest probe of a check failed, and ended after at.
func (b *Backend) FailedSince(at time.Duration) bool {
	return slices.ContainsFunc(b.statuses, func(v *health.Status) bool { return v.FailedSince(at) })
}
