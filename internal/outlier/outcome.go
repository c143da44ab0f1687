// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// AttemptOutcome is the outcome of one attempt, as outlier detection sees it.
type AttemptOutcome struct {
	// Status is the status of the response; 0 for none.
	Status int
	// Error is the equivalent status of an error that the response carries; 0 for none.
	Error int
	// Err ended the attempt early; nil for none.
	Err error
	// Abandoned reports that the client left before Err.
	Abandoned bool
	// Failure is the kind of failure that was counted.
	Failure Failure
	// Exempt reports that the error of a complete response does not count.
	Exempt bool
	// Trial reports that the attempt was the trial of a half-open backend.
	Trial bool
	// Waited is the duration of the attempt.
	Waited time.Duration
}

// status returns the status by which the attempt counts as an error or not.
func (o *AttemptOutcome) status() int { return cmp.Or(o.Error, o.Status) }

// Cause is why an outcome ejects a backend. The zero value ejects none.
type Cause struct {
	// Reason is the reason in words; empty for none.
	Reason string
	// NoConnection reports that all errors that led to the ejection were failures to connect.
	NoConnection bool
	// Trial reports that the trial has failed. MaxEjected then does not apply, since the backend
	// was ejected before.
	Trial bool
}

// RecordOutcome counts the outcome of an attempt. It returns a reason at ConsecutiveErrors and
// after a failed trial, for which the caller ejects the backend. rules are nil without outlier
// detection.
func (e *Ejection) RecordOutcome(o *AttemptOutcome, rules *Rules) Cause {
	switch {
	case o.Failure.Blameless(), o.Err == nil && o.Exempt:
		if o.Trial && (o.Status == 0 || rules != nil && rules.IsError(o.status(), nil)) {
			e.inconclusive()
		}
	case rules == nil: // slow start uses the errors
		if o.Err != nil && !o.Abandoned || o.Status >= http.StatusBadGateway && o.Status <= http.StatusGatewayTimeout {
			e.errors.Add(1)
		}
	case o.Err != nil && o.Abandoned:
		if o.Status == 0 {
			e.recordAbort(o, rules)
		}
	case rules.IsError(o.status(), o.Err):
		return e.recordError(o, rules)
	case e.consecutive.Load() != 0:
		e.clear()
	}
	return Cause{}
}

// recordError counts an attempt that is an error.
func (e *Ejection) recordError(o *AttemptOutcome, rules *Rules) Cause {
	e.errors.Add(1)
	noConnection := NoConnection(o.Failure, o.Err)
	switch {
	case noConnection:
		e.noConnection.Add(1)
	case o.Failure != Reset: // a killed server resets its connections, and then refuses new ones
		e.connectionSeen.Store(true)
	}
	n := e.consecutive.Add(1)
	switch {
	case o.Trial && e.EjectionState() != Probing: // the header has already ended the trial, or a reload
	case o.Trial:
		return Cause{Reason: "the trial failed", NoConnection: noConnection, Trial: true}
	case rules.ConsecutiveErrors > 0 && int(n) >= rules.ConsecutiveErrors && e.EjectionState() == Healthy:
		return Cause{Reason: fmt.Sprintf("%d consecutive errors", n), NoConnection: noConnection && !e.connectionSeen.Load()}
	}
	return Cause{}
}

// recordAbort records an attempt whose client left before a header came.
func (e *Ejection) recordAbort(o *AttemptOutcome, rules *Rules) {
	switch {
	case !o.Trial || e.EjectionState() != Probing:
	case o.Waited >= rules.TrialTimeout():
		e.Eject(clock.Now(), rules, "no response to the trial", false)
	default:
		e.inconclusive()
	}
}
