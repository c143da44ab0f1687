// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package report says what is known of pools and backends, as JSON. The admin API and
// the dashboard show it.
package report

import "time"

// What follows is JSON that others rely on. Fields may be added; none changes its
// meaning. Times of day are RFC 3339, other times are in seconds.

// Pools is the answer to GET /ballast/pools.
type Pools struct {
	Pools []PoolReport `json:"pools"` // by name
	Shed  []Shed       `json:"shed"`  // the handlers that shed load
}

// PoolReport is a pool and who is in it.
type PoolReport struct {
	Name string `json:"name"` // unique
	// Reason says why no backend can take a request, as {http.ballast.reason}
	// does; empty if one can.
	Reason string `json:"reason,omitempty"`
	// Healthy counts the backends that serve in full, and Serving those that have
	// a weight and that nobody has taken out on purpose.
	Healthy int          `json:"healthy"`         // see above
	Serving int          `json:"serving"`         // see Healthy
	Panic   bool         `json:"panic,omitempty"` // health is ignored
	Queue   *QueueReport `json:"queue,omitempty"` // nil without one
	// Refused counts the requests that got no backend, by why: of all reasons that
	// there are. One that asks again counts again.
	Refused   map[string]int64 `json:"refused"`
	Requests  int64            `json:"requests"`  // as in Backend, of all in Backends
	Responses map[string]int64 `json:"responses"` // likewise
	Errors    map[string]int64 `json:"errors"`    // likewise
	// Backends are in the order of the configuration; those that were added
	// follow, and then those that were discovered.
	Backends []BackendReport `json:"backends"`
}

// QueueReport is where requests wait while all backends are full.
type QueueReport struct {
	Size    int   `json:"size"`    // how many may wait
	Waiting int   `json:"waiting"` // how many do
	Queued  int64 `json:"queued"`  // how many have
}

// BackendReport is one backend as it is now. What is counted is counted since the backend
// is known to this process.
type BackendReport struct {
	ID      string `json:"id"`      // unique in the pool
	Address string `json:"address"` // that is dialled
	// Origin is where it is known from: configuration, operator, registration or
	// discovery.
	Origin string `json:"origin"`
	// State is maint, drain, down, ejected, trial or up; of several the first.
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"` // why
	Since  time.Time `json:"since"`            // when it came to the state
	// Admin is what an operator has asked for: ready, drain or maint.
	Admin string `json:"admin"`
	Tier  int    `json:"tier"` // lower ones serve first
	// Backup says that it serves only while no backend that is no backup can.
	Backup bool `json:"backup,omitempty"`
	// Weight is the configured one or, if there is one, the operator's.
	Weight float64 `json:"weight"`
	// EffectiveWeight is the one that counts: the product of Factors.
	EffectiveWeight float64            `json:"effective_weight"`
	Factors         map[string]float64 `json:"weight_factors"` // as in metrics
	// MaxRequests is the most requests in flight, 0 for any number: the least that
	// an agent and the configuration, or an operator instead, say.
	MaxRequests int `json:"max_requests"`
	// Overrides are what an operator says instead of the configuration.
	Overrides *Overrides        `json:"overrides,omitempty"`
	Meta      map[string]string `json:"meta,omitempty"` // free text

	InFlight int   `json:"in_flight"` // requests
	Requests int64 `json:"requests"`  // attempts, retries too
	// Rate is how many it has answered a second, in the last 30 to 60 seconds.
	Rate      float64          `json:"requests_per_second"`
	Responses map[string]int64 `json:"responses"` // by class, such as 2xx
	// Errors counts, each once, the attempts that have failed: those without a
	// complete response by why, and as status those that were answered with 5xx, or
	// a status of gRPC that amounts to it.
	Errors     map[string]int64 `json:"errors"`
	ClientGone int64            `json:"client_gone"` // attempts that the client has left
	Ejections  int64            `json:"ejections"`   // so far
	// Latency is the time to the header of a response, in the last 30 to 60
	// seconds, by quantile: p50, p95 and p99; empty without any.
	Latency map[string]float64 `json:"latency"`
	// Idle is for how long there was neither a request nor an answer; nil if it
	// has never answered.
	Idle *float64 `json:"idle_seconds"`
	// Sessions is how many are bound to it and known; nil if no policy keeps any,
	// and while it is not known whether there are any: of sessions by cookie in the
	// first minute after a start.
	Sessions *int          `json:"sessions"`
	Checks   []CheckReport `json:"checks,omitempty"` // in their order
	// Drain is what is left to wait for, of one that takes no new requests.
	Drain *Drain `json:"drain,omitempty"`
	// Warning says that no backend of the pool takes new requests, where this one was
	// taken out or has no weight.
	Warning string `json:"warning,omitempty"`
}

// Overrides are what an operator says instead of the configuration.
type Overrides struct {
	Weight      *float64 `json:"weight,omitempty"`       // nil for the configured one
	MaxRequests *int     `json:"max_requests,omitempty"` // likewise
}

// CheckReport is what one health check says.
type CheckReport struct {
	Check  string  `json:"check"`                // its name, such as http
	Up     bool    `json:"up"`                   // it lets requests through
	Held   bool    `json:"held,omitempty"`       // it fails, which is not believed
	Passes uint64  `json:"passes"`               // probes
	Fails  uint64  `json:"fails"`                // likewise
	Error  string  `json:"last_error,omitempty"` // of the latest probe; empty if it passed
	Time   float64 `json:"probe_seconds"`        // on average of late, of those that failed too
}

// Drain is what is left on a backend that takes no new requests.
type Drain struct {
	Requests int      `json:"requests"`     // in flight
	Sessions *int     `json:"sessions"`     // as in Backend
	Idle     *float64 `json:"idle_seconds"` // as in Backend
	// Safe says that no request is in flight, and that it is certain that no session
	// is bound to it or, of those by cookie, was used in the last minute.
	Safe bool `json:"safe"`
}

// Shed is a handler that sheds load, as it is now.
type Shed struct {
	Name     string `json:"name"`      // as in metrics
	Limit    int    `json:"limit"`     // how many requests may be in flight; 0 with a limiter for each key
	InFlight int    `json:"in_flight"` // that count
	Waiting  int    `json:"waiting"`   // in the queue
	Admitted uint64 `json:"admitted"`  // so far, after waiting or not
	// Refused counts the requests that were refused or, in shadow mode, would have
	// been.
	Refused uint64 `json:"refused"`
}
