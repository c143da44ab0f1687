// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"time"
)

// What follows is the JSON of the API. Fields may be added; none changes its
// meaning. Times of day are RFC 3339, other times are in seconds.

// Pools is the answer to GET /ballast/pools.
type Pools struct {
	Pools []Pool `json:"pools"` // by name
}

// Pool is a pool and who is in it.
type Pool struct {
	Name string `json:"name"` // unique
	// Reason says why no backend can take a request, as {http.ballast.reason}
	// does; empty if one can.
	Reason string `json:"reason,omitempty"`
	// Healthy counts the backends that serve in full, and Serving those that have
	// a weight and that nobody has taken out on purpose.
	Healthy int    `json:"healthy"`         // see above
	Serving int    `json:"serving"`         // see Healthy
	Panic   bool   `json:"panic,omitempty"` // health is ignored
	Queue   *Queue `json:"queue,omitempty"` // nil without one
	// Refused counts the requests that got no backend though some are up, by why.
	Refused map[string]int64 `json:"refused,omitempty"`
	// Backends are in the order of the configuration; those that were added
	// follow, and then those that were discovered.
	Backends []Backend `json:"backends"`
}

// Queue is where requests wait while all backends are full.
type Queue struct {
	Size    int   `json:"size"`    // how many may wait
	Waiting int   `json:"waiting"` // how many do
	Queued  int64 `json:"queued"`  // how many have
}

// Backend is one backend as it is now. What is counted is counted since the backend
// is known to this process.
type Backend struct {
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
	Rate       float64          `json:"requests_per_second"`
	Responses  map[string]int64 `json:"responses"`   // by class, such as 2xx
	Errors     map[string]int64 `json:"errors"`      // attempts without a complete response, by why
	ClientGone int64            `json:"client_gone"` // attempts that the client has left
	Ejections  int64            `json:"ejections"`   // so far
	// Latency is the time to the header of a response, in the last 30 to 60
	// seconds, by quantile: p50, p95 and p99; empty without any.
	Latency map[string]float64 `json:"latency"`
	// Idle is for how long there was neither a request nor an answer; nil if it
	// has never answered.
	Idle *float64 `json:"idle_seconds"`
	// Sessions is how many are bound to it; nil if that is not known.
	Sessions *int    `json:"sessions"`
	Checks   []Check `json:"checks,omitempty"` // in their order
	// Drain is what is left to wait for, of one that takes no new requests.
	Drain *Drain `json:"drain,omitempty"`
}

// Overrides are what an operator says instead of the configuration.
type Overrides struct {
	Weight      *float64 `json:"weight,omitempty"`       // nil for the configured one
	MaxRequests *int     `json:"max_requests,omitempty"` // likewise
}

// Check is what one health check says.
type Check struct {
	Check  string  `json:"check"`                // its name, such as http
	Up     bool    `json:"up"`                   // it lets requests through
	Held   bool    `json:"held,omitempty"`       // it fails, which is not believed
	Passes uint64  `json:"passes"`               // probes
	Fails  uint64  `json:"fails"`                // likewise
	Error  string  `json:"last_error,omitempty"` // of the latest probe; empty if it passed
	Time   float64 `json:"probe_seconds"`        // on average
}

// Drain is what is left on a backend that takes no new requests.
type Drain struct {
	Requests int      `json:"requests"`     // in flight
	Sessions *int     `json:"sessions"`     // nil if that is not known
	Idle     *float64 `json:"idle_seconds"` // as in Backend
	// Safe says that to remove it disturbs nobody that is known of.
	Safe bool `json:"safe"`
}

// AddRequest is the body of POST .../backends.
type AddRequest struct {
	Address     string            `json:"address"`                // as in the configuration
	ID          string            `json:"id,omitempty"`           // empty for the address
	Weight      *int              `json:"weight,omitempty"`       // nil for 1
	MaxRequests *int              `json:"max_requests,omitempty"` // nil for the pool's
	Tier        int               `json:"tier,omitempty"`         // 0 to 65535
	Meta        map[string]string `json:"meta,omitempty"`         // free text, at most 100 entries
}

// ChangeRequest is the body of PATCH .../backends/<id>. What is not there stays as
// it is.
type ChangeRequest struct {
	Weight      Number `json:"weight,omitzero"`       // 0 to 65535
	State       string `json:"state,omitempty"`       // ready, drain or maint
	MaxRequests Number `json:"max_requests,omitzero"` // 0 for any number
}

// Number is a number, null for what the configuration says, or not there.
type Number struct {
	Value *int // nil for null
	Given bool // it is there
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *Number) UnmarshalJSON(data []byte) error {
	n.Given, n.Value = true, nil
	return json.Unmarshal(data, &n.Value)
}

// MarshalJSON implements [json.Marshaler].
func (n Number) MarshalJSON() ([]byte, error) { return json.Marshal(n.Value) }

// Removed is the answer to DELETE .../backends/<id>.
type Removed struct {
	ID      string `json:"id"`      // as in Backend
	Address string `json:"address"` // likewise
	// Emptied says that nothing was in flight when it left. Otherwise what was,
	// InFlight, goes on to its end.
	Emptied  bool    `json:"emptied"`
	InFlight int     `json:"in_flight"`      // see Emptied
	Sessions *int    `json:"sessions"`       // that will move; nil if that is not known
	Waited   float64 `json:"waited_seconds"` // for it to empty
}

// Metrics is the answer to GET /ballast/metrics.
type Metrics struct {
	Uptime   float64          `json:"uptime_seconds"`      // of the process
	Requests int64            `json:"requests"`            // as in Backend, of all
	Rate     float64          `json:"requests_per_second"` // likewise
	Errors   int64            `json:"errors"`              // likewise
	InFlight int              `json:"in_flight"`           // likewise
	Backends []BackendMetrics `json:"backends"`            // of all pools
	// Listeners read /ballast/events now, and Dropped counts those that were too
	// slow.
	Listeners int   `json:"listeners"`         // see above
	Dropped   int64 `json:"listeners_dropped"` // see Listeners
}

// BackendMetrics are the numbers of one backend, as in Backend.
type BackendMetrics struct {
	Pool       string             `json:"pool"`                // its name
	ID         string             `json:"id"`                  // as in Backend
	State      string             `json:"state"`               // as in Backend
	Requests   int64              `json:"requests"`            // as in Backend
	Rate       float64            `json:"requests_per_second"` // likewise
	Errors     int64              `json:"errors"`              // likewise
	InFlight   int                `json:"in_flight"`           // likewise
	ClientGone int64              `json:"client_gone"`         // as in Backend
	Responses  map[string]int64   `json:"responses"`           // as in Backend
	Latency    map[string]float64 `json:"latency"`             // as in Backend
}

// Explained is the answer to GET .../explain.
type Explained struct {
	Pool string `json:"pool"` // its name
	Explanation
	// Others are those of further proxies with this pool.
	Others []Explanation `json:"others,omitempty"`
}

// Explanation is which backend a request would get now from one proxy.
type Explanation struct {
	Policy  string  `json:"policy"`  // its name
	Backend string  `json:"backend"` // the id of the likeliest; empty for none
	Odds    float64 `json:"odds"`    // how likely that is, from 0 to 1, of a thousand picks
	Why     string  `json:"why"`     // in words
	// Candidates are all backends of the pool.
	Candidates []Candidate `json:"candidates"`
}

// Candidate is a backend that the request might get, or not.
type Candidate struct {
	ID      string  `json:"id"`               // as in Backend
	Address string  `json:"address"`          // likewise
	State   string  `json:"state"`            // likewise
	Tier    int     `json:"tier"`             // likewise
	Weight  float64 `json:"effective_weight"` // likewise
	Odds    float64 `json:"odds"`             // as in Explanation
	// Score is what the policy goes by, see its page; null if it does not look at
	// the backend.
	Score map[string]float64 `json:"score"`
	// PassedOver says why it would not get the request; empty if it might.
	PassedOver string `json:"passed_over,omitempty"`
}

// Event is the data of one of GET /ballast/events. Its name is that of Caddy's
// event.
type Event struct {
	Event string    `json:"event"` // its name
	At    time.Time `json:"at"`    // when it happened
	// Data is as in Caddy's event: pool, backend, address, reason and so on.
	Data map[string]any `json:"data"`
}

// Failure is the body of every answer with a status of 400 or more.
type Failure struct {
	Error string `json:"error"` // what is wrong
}
