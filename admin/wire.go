// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// The following types are the JSON of the API. Fields may be added; the meaning of existing
// fields does not change. Times of day are RFC 3339, durations are in seconds.

// Reports on pools are types of package report.
type (
	// Pools is the response of GET /ballast/pools.
	Pools = report.Pools
	// Pool is a pool with its backends.
	Pool = report.PoolReport
	// Backend is the current state of one backend.
	Backend = report.BackendReport
	// Check is the state of one health check of a backend.
	Check = report.CheckReport
	// Drain is the remaining work of a backend that gets no new requests.
	Drain = report.Drain
	// Fleet is the response of GET /ballast/fleet.
	Fleet = report.FleetReport
	// FleetHint is the state of a pool on an instance.
	FleetHint = report.FleetHint
	// Event is the data of a server-sent event of GET /ballast/events, and Events the response
	// with ?last=<n>.
	Event = report.Event
	// Events is described at Event.
	Events = report.Events
	// Metrics is the response of GET /ballast/metrics.
	Metrics = report.Metrics
)

// AddRequest is the body of POST .../backends.
type AddRequest struct {
	// Address is as in the configuration, but must be one backend.
	Address string `json:"address"`
	backend.Settings
	// Verify is whether to probe the backend first: with the checks of the pool or, without any, by a
	// connection. Nil for true.
	Verify *bool `json:"verify,omitempty"`
}

// ChangeRequest is the body of PATCH .../backends/<id>. Absent fields do not change.
type ChangeRequest struct {
	Weight      Number `json:"weight,omitzero"`       // 0 to 65535
	State       string `json:"state,omitempty"`       // ready, drain or maint
	MaxRequests Number `json:"max_requests,omitzero"` // 0 for no limit
	// For is instance if the change ends with the instance of the backend, which is the default, or
	// address if it also holds for each further instance at the address.
	For string `json:"for,omitempty"`
}

// Number is an optional number; null restores the configured value.
type Number struct {
	Value *int // nil for null
	Given bool // false if absent
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *Number) UnmarshalJSON(data []byte) error {
	n.Given, n.Value = true, nil
	return json.Unmarshal(data, &n.Value)
}

// MarshalJSON implements [json.Marshaler].
func (n Number) MarshalJSON() ([]byte, error) { return json.Marshal(n.Value) }

// Removed is the response of DELETE .../backends/<id>.
type Removed struct {
	ID      string `json:"id"`      // as in Backend
	Address string `json:"address"` // as in Backend
	// Emptied is true if no request was in flight at the removal. Otherwise InFlight requests
	// continue to their end.
	Emptied  bool    `json:"emptied"`
	InFlight int     `json:"in_flight"`      // at the removal
	Sessions *int    `json:"sessions"`       // sessions that will move, as in Backend
	Waited   float64 `json:"waited_seconds"` // time that the request waited
	// Warning is as in Backend.
	Warning string `json:"warning,omitempty"`
}

// Explained is the response of GET .../explain.
type Explained struct {
	Pool string `json:"pool"` // name of the pool
	Explanation
	// Others are the explanations of further proxies with this pool.
	Others []Explanation `json:"others,omitempty"`
}

// Explanation is the backend that a request would get now from one proxy.
type Explanation struct {
	Policy  string  `json:"policy"`          // name of the policy
	Group   string  `json:"group,omitempty"` // of the backend; main for the main group, empty in a pool without groups
	Backend string  `json:"backend"`         // id of the likeliest backend; empty for none
	Odds    float64 `json:"odds"`            // probability of this backend, from 0 to 1, from a thousand picks
	Why     string  `json:"why"`             // the reason, as text
	// Candidates contains all backends of the pool.
	Candidates []Candidate `json:"candidates"`
}

// Candidate is a backend of the pool, with its chance to get the request.
type Candidate struct {
	ID      string  `json:"id"`               // as in Backend
	Address string  `json:"address"`          // as in Backend
	State   string  `json:"state"`            // as in Backend
	Tier    int     `json:"tier"`             // as in Backend
	Backup  bool    `json:"backup,omitempty"` // as in Backend
	Group   string  `json:"group,omitempty"`  // as in Backend
	Weight  float64 `json:"effective_weight"` // as in Backend
	Odds    float64 `json:"odds"`             // as in Explanation
	// Score contains the figures that the policy compares, see its documentation; null if the
	// policy does not compare this backend.
	Score map[string]float64 `json:"score"`
	// PassedOver is the reason why the backend cannot get the request; empty if it can.
	PassedOver string `json:"passed_over,omitempty"`
}

// Failure is the body of every response with a status of 400 or more.
type Failure struct {
	Error string `json:"error"` // the error message
}
