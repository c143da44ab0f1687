// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package hedge makes a second attempt for a request, on another backend, when its first attempt is late ("The Tail at
// Scale", Dean and Barroso, CACM 2013). It decides when an attempt is late, and which of the two attempts answers the
// client.
package hedge

import (
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

// HedgePolicy configures which requests get a second attempt, and when. Read-only.
type HedgePolicy struct {
	// Quantile is the quantile of the recent times to the response header after which a second attempt
	// begins, from 0 to 1.
	Quantile float64
	// Max is the largest share of requests that get a second attempt in any 10 s, from 0 to 1.
	Max float64
	// Min is the shortest delay of a second attempt.
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
	// AddWaits adds to d the times that attempts of matching requests have waited for the response
	// header, or until they were given up.
	AddWaits(now time.Duration, d *latency.Distribution)
	// SetHedgeDelay sets the time after which an attempt on the backend is late; 0 for unknown.
	SetHedgeDelay(delay time.Duration)
}

// UpdateEvery is the interval at which the caller should call [UpdateDelays].
const UpdateEvery = 3 * time.Second

// UpdateDelays sets the delay of each member from the latencies of the others, so that all attempts on a slow member are
// late. The delay is unknown until there were enough attempts for one of them to be late. The quantile is never below
// 1 - Max, so that the latest requests get the second attempts that Max allows.
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
