// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package hedge sends a request a second time, to another backend, when its first attempt is late
// ("The Tail at Scale", Dean and Barroso, CACM 2013): when that is, and which of the two attempts
// answers the client.
package hedge

import (
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

// HedgePolicy is when a request gets a second attempt. Read-only.
type HedgePolicy struct {
	// Quantile is the share of the pool's latest times to the response header that are shorter than
	// the delay of a second attempt, from 0 to 1.
	Quantile float64
	// Max is the most second attempts for each request, over any 10 s.
	Max float64
	// Min is the shortest delay.
	Min time.Duration
	// Match reports whether a request may be sent twice; nil for those with a safe method (RFC
	// 9110, 9.2.1).
	Match func(*http.Request) bool
}

// Matches reports whether a request may be sent to two backends at a time.
func (p *HedgePolicy) Matches(req *http.Request) bool {
	if p.Match != nil {
		return p.Match(req)
	}
	return httpx.Safe(req.Method)
}

// Member is a backend of a pool that hedges.
type Member interface {
	// AddWaits adds to d how long attempts of requests that match waited for the response header,
	// or until they were given up.
	AddWaits(now time.Duration, d *latency.Distribution)
	// SetHedgeDelay sets when an attempt on the backend is late; 0 for unknown.
	SetHedgeDelay(delay time.Duration)
}

// UpdateEvery is how often delays are to be updated.
const UpdateEvery = 3 * time.Second

// UpdateDelays sets the delay of each member from the latencies of the others, so that all attempts
// on a slow one are late. The delay is unknown until one of so many attempts is late. It is longer
// than Quantile says if more than Max of the attempts would be late: the second attempts that Max
// allows then go to the latest ones.
func UpdateDelays[M Member](p *HedgePolicy, now time.Duration, members []M) {
	var all latency.Distribution
	for _, m := range members {
		m.AddWaits(now, &all)
	}
	q := max(p.Quantile, 1-p.Max)
	for _, m := range members {
		var own latency.Distribution
		m.AddWaits(now, &own)
		others := all
		others.Subtract(&own)
		m.SetHedgeDelay(p.delay(q, &others))
	}
}

// delay returns the delay for a distribution; 0 for unknown.
func (p *HedgePolicy) delay(q float64, d *latency.Distribution) time.Duration {
	if float64(d.Count())*(1-q) < 1-1e-9 {
		return 0
	}
	return max(d.Quantile(q), p.Min)
}
