// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package report describes pools and backends as JSON, for the admin API and the dashboard.
package report

import (
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// This JSON is a stable interface. Fields may be added; no field changes its meaning. Times of
// day are RFC 3339, durations are in seconds.

// Pools is the response to GET /ballast/pools.
type Pools struct {
	// Instance is the process that answers.
	Instance Process      `json:"instance"`
	Pools    []PoolReport `json:"pools"` // by name
	Shed     []Shed       `json:"shed"`  // the handlers that shed load
	// Fleet is nil if the configuration has no fleet.
	Fleet *FleetSummary `json:"fleet,omitempty"`
}

// PoolReport is a pool and its members.
type PoolReport struct {
	Name string `json:"name"` // unique
	// Reason is why no backend can take a request, as in {http.ballast.reason}; empty if one can.
	Reason string `json:"reason,omitempty"`
	// Policies are the names of the policies with which proxies use the pool. Caddy's own policies
	// are not known.
	Policies []string `json:"policies,omitempty"`
	// States counts the backends in each state that one has.
	States map[string]int `json:"states"`
	// Healthy counts the healthy backends among Serving: those with a weight that neither an
	// operator nor an agent has taken out, of all groups.
	Healthy int  `json:"healthy"`         // see above
	Serving int  `json:"serving"`         // see Healthy
	Panic   bool `json:"panic,omitempty"` // health is ignored, in a group that gets requests
	// Locality is the share of requests that stays in the zone of this instance, for each tier; nil without the
	// option.
	Locality []LocalityReport `json:"locality,omitempty"`
	// Groups are the groups, the main group first; nil if there are none.
	Groups []GroupReport `json:"groups,omitempty"`
	Queue  *QueueReport  `json:"queue,omitempty"`  // nil without one
	Mirror *MirrorReport `json:"mirror,omitempty"` // likewise
	// Refused counts the requests that got no backend, for each reason. A client that retries
	// counts again.
	Refused   map[string]int64 `json:"refused"`
	Requests  int64            `json:"requests"`  // as in BackendReport, the sum of all backends
	Responses map[string]int64 `json:"responses"` // as in BackendReport, the sum of all backends
	Errors    map[string]int64 `json:"errors"`    // as in BackendReport, the sum of all backends
	// Connections counts the connections of all backends that carry no HTTP.
	Connections *ConnectionsReport `json:"connections,omitempty"`
	// Sources are the sources of discovery, in the order of the configuration.
	Sources []SourceReport `json:"sources,omitempty"`
	// Backends are in the order of the configuration. Backends added at run time follow, and then
	// discovered ones.
	Backends []BackendReport `json:"backends"`
}

// SourceReport is the state of a source of discovery.
type SourceReport struct {
	Source   string `json:"source"`   // such as docker
	Backends int    `json:"backends"` // of its last good answer
	// Error is the latest error of the source; empty while it works, and before its first answer.
	Error string `json:"error,omitempty"`
	// Since is when it began to work, or to fail; nil before the first answer.
	Since *time.Time `json:"since,omitempty"`
	// Ignored are entries that the source has found and that are not backends, by name, with the reason, such
	// as a container without a port.
	Ignored map[string]string `json:"ignored,omitempty"`
}

// LocalityReport is the share of the requests of a tier that stays in the zone of this instance.
type LocalityReport struct {
	Group  string  `json:"group,omitempty"`  // the tier is of this group; empty for the main group
	Tier   int     `json:"tier"`             // as in BackendReport
	Backup bool    `json:"backup,omitempty"` // these are the backups
	Home   float64 `json:"home"`             // share of the tier's requests, from 0 to 1
	// HomeUtilization and AbroadUtilization are the utilizations that were last compared, from 0 to 1; see
	// docs/pool.md.
	HomeUtilization   float64 `json:"home_utilization"`   // see above
	AbroadUtilization float64 `json:"abroad_utilization"` // see HomeUtilization
}

// QueueReport is the queue for requests while all backends are full.
type QueueReport struct {
	Size    int   `json:"size"`    // maximum number of waiting requests, of all groups together
	Waiting int   `json:"waiting"` // requests that are waiting now
	Queued  int64 `json:"queued"`  // requests that have entered the queue so far
}

// MirrorReport counts the copies of requests since the start of the process, by result. The keys are those of the
// metrics.
type MirrorReport struct {
	InFlight  int64            `json:"in_flight"`         // copies
	Requests  map[string]int64 `json:"requests"`          // copies that have ended, by result
	Dropped   map[string]int64 `json:"dropped"`           // requests that were not mirrored, by cause
	Responses map[string]int64 `json:"responses"`         // by class, such as 2xx
	Same      int64            `json:"same_status"`       // answers with the status of the answer to the request
	Different int64            `json:"different_status"`  // answers with another status
	Time      float64          `json:"mean_seconds"`      // to the header of the answers that were compared; 0 without any
	MainTime  float64          `json:"main_mean_seconds"` // to the header of the answers to the requests
}

// BackendReport is the current state of one backend. Counters start when the backend is first
// known to this process.
type BackendReport struct {
	// Settings are the settings of the configuration, the addition or the registration. Fields below replace
	// some of them.
	backend.Settings
	Address string `json:"address"` // dial address
	// Origin is the source of the backend: configuration, operator, registration or discovery.
	Origin string `json:"origin"`
	// State is maint, drain, down, ejected, trial or up; if several apply, the first of them.
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"` // cause of the state
	Since  time.Time `json:"since"`            // when the state began
	// Why is why a backend that is up, or on trial, gets no requests, or fewer than its weight says;
	// empty if nothing holds them back.
	Why string `json:"why,omitempty"`
	// Failing is the share of the latest attempts that failed, or were answered with 429 or 5xx.
	Failing float64 `json:"failing,omitempty"`
	// Downs is how often the checks have brought the backend down, and DownFor for how long in total, in
	// seconds.
	Downs   int64   `json:"downs"`
	DownFor float64 `json:"down_seconds"` // see Downs
	// Unused reports that the backend is not in the subset of this instance, which therefore does not probe it.
	Unused bool `json:"unused,omitempty"`
	// Admin is the state that an operator has set: ready, drain or maint.
	Admin string `json:"admin"`
	Tier  int    `json:"tier"` // lower ones serve first
	// Weight is the configured weight or, if there is one, the operator's.
	Weight float64 `json:"weight"`
	// EffectiveWeight is the product of Factors.
	EffectiveWeight float64            `json:"effective_weight"`
	Factors         map[string]float64 `json:"weight_factors"` // as in metrics
	// MaxRequests limits the requests in flight, 0 for no limit. It is the lower of the agent's
	// limit and the configured one, which an operator may replace.
	MaxRequests int `json:"max_requests"`
	// FleetLimit is set if the limit is one of the fleet. MaxRequests is then at most the share of this
	// instance, and with a share of 0 the backend gets no request from it.
	FleetLimit *FleetLimit `json:"fleet_limit,omitempty"`
	// Overrides are the values of an operator that replace the configured ones.
	Overrides *Overrides `json:"overrides,omitempty"`
	// ForAddress lists the fields that an operator has changed for the address: state, weight and max_requests.
	// These changes also apply to every later instance at the address.
	ForAddress []string `json:"for_address,omitempty"`

	InFlight int   `json:"in_flight"` // requests
	Requests int64 `json:"requests"`  // attempts, including retries
	// Rate is the number of responses per second, over the last 30 to 60 seconds.
	Rate      float64          `json:"requests_per_second"`
	Responses map[string]int64 `json:"responses"` // by class, such as 2xx
	// Errors counts the failed attempts, each once: those without a complete response by kind of
	// failure, and as status those with a 5xx response or an equivalent gRPC status.
	Errors     map[string]int64 `json:"errors"`
	ClientGone int64            `json:"client_gone"` // attempts that the client abandoned
	// Connections are the TCP connections of balance, which count as requests, too; nil if there were none.
	Connections *ConnectionsReport `json:"connections,omitempty"`
	Ejections   int64              `json:"ejections"` // so far
	// Latency is the time to the response header over the last 30 to 60 seconds, by quantile:
	// p50, p95 and p99; empty without responses.
	Latency map[string]float64 `json:"latency"`
	// Idle is for how long there was neither a request nor a response; nil if it has never
	// answered.
	Idle *float64 `json:"idle_seconds"`
	// Sessions is the number of known sessions of the backend. It is nil if no policy keeps
	// sessions, and while it is not known whether there are any: with cookies, in the first
	// minute after a start.
	Sessions *int          `json:"sessions"`
	Checks   []CheckReport `json:"checks,omitempty"` // in their order
	// Drain is the progress of the drain of a backend that takes no new requests; nil for other backends.
	Drain *Drain `json:"drain,omitempty"`
	// Warning warns that no backend of the pool, or of its main group, takes new requests, on backends that are out of service or
	// have weight 0, or that the weight of an operator has no effect, on backends whose agent or load
	// reports replace it.
	Warning string `json:"warning,omitempty"`
}

// Overrides are the values of an operator that replace the configured ones.
type Overrides struct {
	Weight      *float64 `json:"weight,omitempty"`       // nil for the configured one
	MaxRequests *int     `json:"max_requests,omitempty"` // likewise
}

// FleetLimit is a limit that the instances of a fleet share.
type FleetLimit struct {
	MaxRequests int `json:"max_requests"` // of all instances together
	Share       int `json:"share"`        // of this instance
}

// CheckReport is the status of one health check.
type CheckReport struct {
	Check  string  `json:"check"`                // name, such as http
	Up     bool    `json:"up"`                   // lets requests through
	Held   bool    `json:"held,omitempty"`       // fails, but is suppressed by the guard
	Passes uint64  `json:"passes"`               // probes
	Fails  uint64  `json:"fails"`                // likewise
	Error  string  `json:"last_error,omitempty"` // of the latest probe; empty if it passed
	Time   float64 `json:"probe_seconds"`        // recent average, including failed probes
	// Latest is the duration of the latest probe, and At when it ended; nil before the first.
	Latest float64    `json:"last_seconds,omitempty"`
	At     *time.Time `json:"last_at,omitempty"` // see Latest
}

// Drain is the progress of the drain of a backend.
type Drain struct {
	Requests int      `json:"requests"`     // in flight
	Sessions *int     `json:"sessions"`     // as in BackendReport
	Idle     *float64 `json:"idle_seconds"` // as in BackendReport
	// Safe reports that no request is in flight, and that no session is bound to the backend. With cookies:
	// that no session was used in the last minute.
	Safe bool `json:"safe"`
	// Fleet is the same for all instances of the fleet; nil without one.
	Fleet *membership.FleetDrain `json:"fleet,omitempty"`
}

// Shed is the current state of a handler that sheds load.
type Shed struct {
	Name  string `json:"name"`  // as in metrics
	Limit int    `json:"limit"` // limit of requests in flight; 0 with a limiter for each key
	// FleetLimit is the limit of all instances of the fleet together; 0 if it is not one of the fleet.
	// Limit is then the share of this instance.
	FleetLimit int    `json:"fleet_limit,omitempty"`
	InFlight   int    `json:"in_flight"` // requests that count towards the limit
	Waiting    int    `json:"waiting"`   // in the queue
	Admitted   uint64 `json:"admitted"`  // so far, with or without a wait
	// Refused counts the requests that were refused or, in shadow mode, would have been.
	Refused uint64 `json:"refused"`
}
