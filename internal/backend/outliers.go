// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// OutlierRules are the rules by which the backends of a pool are ejected. Read-only.
type OutlierRules struct {
	// ConsecutiveErrors is the number of errors in a row that ejects; 0 for never.
	ConsecutiveErrors int
	// ErrorStatus marks the statuses that are errors. Failed attempts are errors, too.
	ErrorStatus [600]bool
	// ErrorRatio is the share of errors among the attempts of one interval that ejects; 0 for
	// never.
	ErrorRatio float64
	// MinRequests is the number of attempts that an interval needs to be evaluated.
	MinRequests int64
	// Latency ejects a backend whose average latency in one interval is more than this multiple
	// of the median of its pool; 0 for never.
	Latency float64
	// Interval is the length of an interval.
	Interval time.Duration
	// Stall is how long a backend may answer nothing; 0 for no limit.
	Stall time.Duration
	// EjectFor, multiplied by the number of recent ejections and at most MaxEjectFor, is the
	// duration of an ejection.
	EjectFor, MaxEjectFor time.Duration
	// MaxEjected is the share of a tier that may be ejected at a time. One backend always may,
	// and all may while other tiers can take the requests.
	MaxEjected float64
}

// isError reports whether an attempt counts as an error.
func (o *OutlierRules) isError(status int, err error) bool {
	return err != nil || status > 0 && status < len(o.ErrorStatus) && o.ErrorStatus[status]
}

// answeredInTime is the longest time to a header that stall detection counts as in time. It
// leaves a quarter of Stall to detect the silence.
func (o *OutlierRules) answeredInTime() time.Duration { return o.Stall * 3 / 4 }

// recordOutcome counts the outcome of an attempt for outlier detection, and ejects the backend at
// ConsecutiveErrors, or after a failed trial.
func (b *Backend) recordOutcome(a *Attempt, waited time.Duration, err error, gone bool, failure Failure) {
	rules := b.shared.outliers
	switch {
	case failure.blameless(), err == nil && a.Exempt != NoFailure:
		if a.trial && (a.Status == 0 || rules != nil && rules.isError(cmp.Or(a.Error, a.Status), nil)) {
			b.inconclusive()
		}
	case rules == nil: // slow start needs the errors
		if err != nil && !gone || a.Status >= http.StatusBadGateway && a.Status <= http.StatusGatewayTimeout {
			b.errors.Add(1)
		}
	case err != nil && gone:
		if a.Status == 0 {
			b.recordAbort(a, waited, rules)
		}
	case rules.isError(cmp.Or(a.Error, a.Status), err):
		b.errors.Add(1)
		away := isNoConnection(failure, err)
		switch {
		case away:
			b.noConnection.Add(1)
		case failure != Reset: // a killed server resets its connections, and then refuses new ones
			b.connectionSeen.Store(true)
		}
		n := b.consecutive.Add(1)
		switch {
		case a.trial && a.Status != 0 && b.EjectionState() != Probing: // Answer has ended the trial already
		case a.trial:
			b.markEjected(clock.Now(), rules, "the trial failed", away)
		case rules.ConsecutiveErrors > 0 && int(n) >= rules.ConsecutiveErrors && b.EjectionState() == Healthy:
			b.shared.pool.Eject(b, fmt.Sprintf("%d consecutive errors", n), away && !b.connectionSeen.Load())
		}
	case b.consecutive.Load() != 0:
		b.clear()
	}
}

// recordAbort counts an attempt whose client left before a header came.
func (b *Backend) recordAbort(a *Attempt, waited time.Duration, rules *OutlierRules) {
	if rules.Stall > 0 && waited >= rules.answeredInTime() {
		b.timedOut.Add(1)
		if a.Affinity != Unbound {
			b.bound.timedOut.Add(1)
		}
	}
	switch {
	case !a.trial:
	case waited >= max(rules.Stall, time.Second): // long enough to fail the trial
		b.eject(clock.Now(), rules, "the trial was not answered")
	default:
		b.inconclusive()
	}
}

// markEjected ejects the backend. gone says that all errors that led to it failed to connect.
// Passing probes from now on then show that the backend has come back.
func (b *Backend) markEjected(now time.Duration, rules *OutlierRules, reason string, gone bool) {
	for _, v := range b.statuses {
		v.ResetPasses()
	}
	if b.eject(now, rules, reason) && gone {
		b.Ejection.mu.Lock()
		b.Ejection.onlyNoConnection = true
		b.Ejection.mu.Unlock()
	}
}

// EvaluateInterval evaluates the last interval if it is over. It returns why the backend is to be
// ejected for its errors, or "", and whether all of these failed to connect (gone). An interval
// without ejection shortens the next ejection. latency is the average time to a header in the
// interval, in nanoseconds, or 0 for fewer than MinRequests.
func (s *State) EvaluateInterval(rules *OutlierRules, now time.Duration) (reason string, gone bool, latency float64, over bool) {
	ended, answered := s.ended(), s.answered.Load()
	s.Ejection.mu.Lock()
	defer s.Ejection.mu.Unlock()
	w := &s.window
	if w.start != 0 && now-w.start < rules.Interval {
		return "", false, 0, false
	}
	last := *w
	*w = interval{start: now, ended: ended, errors: s.errors.Load(), noConnection: s.noConnection.Load(), answered: answered, firstByte: s.firstByte.Load()}
	if last.start == 0 || s.EjectionState() != Healthy {
		return "", false, 0, false
	}
	if s.times > 0 && s.until < last.start {
		s.times--
	}
	if n := answered - last.answered; n >= rules.MinRequests && n > 0 {
		latency = float64(w.firstByte-last.firstByte) / float64(n)
	}
	n, errors := ended-last.ended, w.errors-last.errors
	if rules.ErrorRatio > 0 && n >= rules.MinRequests && n > 0 && float64(errors) >= rules.ErrorRatio*float64(n) {
		reason = fmt.Sprintf("%d of %d requests failed", errors, n)
		gone = w.noConnection-last.noConnection == errors
	}
	return reason, gone, latency, true
}

// NextEvaluation returns when the current interval ends. pending is false if it has no errors to
// evaluate.
func (s *State) NextEvaluation(rules *OutlierRules) (ends time.Duration, pending bool) {
	s.Ejection.mu.Lock()
	defer s.Ejection.mu.Unlock()
	return s.window.start + rules.Interval, s.window.start != 0 && s.errors.Load() != s.window.errors
}
