// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import "slices"

// Reason is why a request gets no backend, as in the placeholder {http.ballast.reason}, logs,
// metrics and the admin API. It is empty if the request gets one.
type Reason string

// The reasons. The first four are also the reasons of views without tiers.
const (
	// ReasonEmpty: the pool has no members.
	ReasonEmpty Reason = "no_backends"
	// ReasonDown: no member is up and takes requests.
	ReasonDown Reason = "all_down"
	// ReasonMaintenance: operators have put all members into drain or maintenance.
	ReasonMaintenance Reason = "all_maintenance"
	// ReasonWeight: members are up, but all of them have weight 0.
	ReasonWeight Reason = "no_weight"
	// ReasonFull: members are up, but at their limits, and the pool has no queue.
	ReasonFull Reason = "all_full"
	// ReasonQueueFull: members are up, but at their limits, and the queue is full.
	ReasonQueueFull Reason = "queue_full"
	// ReasonQueueTimeout: the request has waited in the queue for the longest time allowed.
	ReasonQueueTimeout Reason = "queue_timeout"
	// ReasonGone: the client left while the request waited.
	ReasonGone Reason = "client_gone"
	// ReasonBudget: the retry budget is used up.
	ReasonBudget Reason = "retry_budget"
	// ReasonSession: the backend of the session is down, and the session is strict, so that no
	// other backend may serve it.
	ReasonSession Reason = "session_down"

	// ReasonFailed is not a reason of a refusal: the latest attempt has failed.
	ReasonFailed Reason = "attempt_failed"
)

// reasons are the reasons of refusals.
var reasons = [...]Reason{
	ReasonEmpty, ReasonDown, ReasonMaintenance, ReasonWeight, ReasonFull, ReasonQueueFull, ReasonQueueTimeout, ReasonGone,
	ReasonBudget, ReasonSession,
}

// Reasons returns all reasons of refusals.
func Reasons() []Reason { return slices.Clone(reasons[:]) }
