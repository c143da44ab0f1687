// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/event"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Metrics is the response to GET /ballast/metrics.
type Metrics struct {
	Uptime    float64          `json:"uptime_seconds"`      // of the process
	Requests  int64            `json:"requests"`            // as in BackendReport, the sum of all backends
	Rate      float64          `json:"requests_per_second"` // as in BackendReport, the sum of all backends
	Errors    int64            `json:"errors"`              // as in BackendReport, the sum of all backends and kinds
	InFlight  int              `json:"in_flight"`           // as in BackendReport, the sum of all backends
	Responses map[string]int64 `json:"responses"`           // as in BackendReport, the sum of all backends
	Refused   int64            `json:"refused"`             // as in PoolReport, the sum of all pools and reasons
	Pools     []PoolMetrics    `json:"pools"`               // by name
	Backends  []BackendMetrics `json:"backends"`            // of all pools
	// Listeners is the number of readers of /ballast/events now, and Dropped the number of
	// readers cut off because they were too slow.
	Listeners int   `json:"listeners"`         // see above
	Dropped   int64 `json:"listeners_dropped"` // see Listeners
}

// PoolMetrics are the counters of one pool, as in [PoolReport].
type PoolMetrics struct {
	Pool      string           `json:"pool"`             // name of the pool
	Reason    string           `json:"reason,omitempty"` // as in PoolReport
	Requests  int64            `json:"requests"`         // as in PoolReport
	Errors    int64            `json:"errors"`           // as in PoolReport, the sum of all kinds
	Responses map[string]int64 `json:"responses"`        // as in PoolReport
	Refused   map[string]int64 `json:"refused"`          // as in PoolReport
}

// BackendMetrics are the counters of one backend, as in [BackendReport].
type BackendMetrics struct {
	Pool       string             `json:"pool"`                // name of the pool
	ID         string             `json:"id"`                  // as in BackendReport
	State      string             `json:"state"`               // as in BackendReport
	Requests   int64              `json:"requests"`            // as in BackendReport
	Rate       float64            `json:"requests_per_second"` // as in BackendReport
	Errors     int64              `json:"errors"`              // as in BackendReport, the sum of all kinds
	InFlight   int                `json:"in_flight"`           // as in BackendReport
	ClientGone int64              `json:"client_gone"`         // as in BackendReport
	Responses  map[string]int64   `json:"responses"`           // as in BackendReport
	Latency    map[string]float64 `json:"latency"`             // as in BackendReport
}

// Numbers returns the counters of all pools and backends, and their sums.
func Numbers() Metrics {
	out := Metrics{Uptime: clock.Uptime().Seconds(), Responses: responses(backend.Totals{}), Pools: []PoolMetrics{}, Backends: []BackendMetrics{}}
	out.Listeners, out.Dropped = event.Subscriptions()
	for _, p := range pool.Pools() {
		metrics := PoolMetrics{Pool: p.Name, Reason: reason(p), Responses: responses(backend.Totals{}), Refused: refused(p.Totals())}
		out.Refused += total(metrics.Refused)
		for _, b := range p.View().Members.All {
			t := b.Totals()
			m := BackendMetrics{
				Pool: p.Name, ID: b.ID, State: b.Condition().State, Requests: t.Requests, InFlight: b.InFlight(),
				ClientGone: t.ClientGone, Rate: b.Histogram.Rate(clock.Now(), rateSince()),
				Responses: responses(t), Latency: latency(b),
			}
			m.Errors = failed(t)
			sum(metrics.Responses, m.Responses)
			metrics.Requests += m.Requests
			metrics.Errors += m.Errors
			out.Rate += m.Rate
			out.InFlight += m.InFlight
			out.Backends = append(out.Backends, m)
		}
		sum(out.Responses, metrics.Responses)
		out.Requests += metrics.Requests
		out.Errors += metrics.Errors
		out.Pools = append(out.Pools, metrics)
	}
	return out
}
