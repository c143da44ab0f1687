// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "slices"

// Reason is why a request gets no backend, as in the placeholder
// {http.ballast.reason}, in logs, metrics and the admin API. It is empty where there
// is one.
type Reason string

// The reasons. The first four are those of views.
const (
	// ReasonEmpty: the pool has no members.
	ReasonEmpty Reason = "no_backends"
	// ReasonDown: no member is up and takes requests.
	ReasonDown Reason = "all_down"
	// ReasonMaintenance: operators have drained all members, or put them into
	// maintenance.
	ReasonMaintenance Reason = "all_maintenance"
	// ReasonWeight: members are up, but all of them have weight 0.
	ReasonWeight Reason = "no_weight"
	// ReasonFull: members are up, but have as many requests as they may have.
	ReasonFull Reason = "all_full"
	// ReasonQueueFull: likewise, and as many requests wait as may.
	ReasonQueueFull Reason = "queue_full"
	// ReasonQueueTimeout: the request has waited for as long as it may.
	ReasonQueueTimeout Reason = "queue_timeout"
	// ReasonGone: the client has left while the request waited.
	ReasonGone Reason = "client_gone"
	// ReasonBudget: there were as many retries of late as there may be.
	ReasonBudget Reason = "retry_budget"
	// ReasonSession: the backend of the session is down, and the session may have no
	// other.
	ReasonSession Reason = "session_down"

	// ReasonFailed is none of a refusal: the latest attempt has failed.
	ReasonFailed Reason = "attempt_failed"
)

// reasons are those of refusals.
var reasons = [...]Reason{
	ReasonEmpty, ReasonDown, ReasonMaintenance, ReasonWeight, ReasonFull, ReasonQueueFull, ReasonQueueTimeout, ReasonGone,
	ReasonBudget, ReasonSession,
}

// Reasons returns all reasons of refusals.
func Reasons() []Reason { return slices.Clone(reasons[:]) }
