// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// What follows is the JSON of the API. Fields may be added; none changes its
// meaning. Times of day are RFC 3339, other times are in seconds.

// What is known of pools is as the package report says.
type (
	// Pools is the answer to GET /ballast/pools.
	Pools = report.Pools
	// Pool is a pool and who is in it.
	Pool = report.PoolReport
	// Backend is one backend as it is now.
	Backend = report.BackendReport
	// Check is what one health check says.
	Check = report.CheckReport
	// Drain is what is left on a backend that takes no new requests.
	Drain = report.Drain
	// Metrics is the answer to GET /ballast/metrics.
	Metrics = report.Metrics
)

// AddRequest is the body of POST .../backends.
type AddRequest struct {
	Address     string            `json:"address"`                // as in the configuration
	ID          string            `json:"id,omitempty"`           // empty for the address
	Weight      *int              `json:"weight,omitempty"`       // nil for 1
	MaxRequests *int              `json:"max_requests,omitempty"` // nil for the pool's
	Tier        int               `json:"tier,omitempty"`         // 0 to 65535
	Backup      bool              `json:"backup,omitempty"`       // instead of a tier
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
	Sessions *int    `json:"sessions"`       // that will move, as in Backend
	Waited   float64 `json:"waited_seconds"` // for it to empty
	// Warning is as in Backend.
	Warning string `json:"warning,omitempty"`
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
	Backup  bool    `json:"backup,omitempty"` // likewise
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
