// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/history"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

const (
	// maxPools and maxBackends bound what has a history, to 5 MB and 29 MB.
	maxPools, maxBackends = 1000, 10_000
	// maxAsked is the most backends whose history one answer contains.
	maxAsked = 200
)

// backendKey identifies a backend: an id may go from one to another.
type backendKey struct{ pool, address string }

// recorder records the history of all pools. The functions below define its columns.
type recorder struct {
	periodic.Task[any]
	whole    sync.RWMutex // readers see all values of a tick, or none
	pools    *history.Table[string]
	backends *history.Table[backendKey]
}

// recording is the recorder while a configuration runs.
var recording struct {
	mu sync.Mutex // guards the field below
	*recorder
}

// StartHistory records the history of all pools until StopHistory. configuration is a pointer that identifies a
// configuration. The history continues over reloads.
func StartHistory(configuration any) {
	configured.Store(time.Now().UnixNano())
	recording.mu.Lock()
	defer recording.mu.Unlock()
	if recording.recorder == nil {
		r := &recorder{pools: history.NewTable[string](3, 4, maxPools), backends: history.NewTable[backendKey](2, 2, maxBackends)}
		r.Run = func(context.Context, any) func() { r.record(); return nil }
		r.Interval = func(any) time.Duration { return history.Step }
		recording.recorder = r
	}
	recording.Start(configuration)
}

// StopHistory undoes StartHistory.
func StopHistory(configuration any) {
	recording.mu.Lock()
	defer recording.mu.Unlock()
	r := recording.recorder
	if r == nil {
		return
	}
	if r.Stop(configuration); len(r.Users()) == 0 {
		recording.recorder = nil
	}
}

// currentRecorder returns the recorder, or nil while no configuration runs.
func currentRecorder() *recorder {
	recording.mu.Lock()
	defer recording.mu.Unlock()
	return recording.recorder
}

// record takes one sample of everything.
func (r *recorder) record() {
	r.whole.Lock()
	defer r.whole.Unlock()
	now := clock.Now()
	r.pools.Next(now)
	r.backends.Next(now)
	for _, p := range pool.Pools() {
		r.recordPool(p, now)
	}
}

func (r *recorder) recordPool(p *pool.Pool, now time.Duration) {
	view := p.View()
	var requests, wrong int64
	var inFlight, up, slowest float64
	for _, b := range view.Members.All {
		t := b.Totals()
		bad, busy, p95 := failed(t), float64(b.InFlight()), 0.0
		if t.Answered > 0 {
			p95 = b.Histogram.Quantiles(now, 0.95)[0].Seconds()
		}
		r.backends.Note(backendKey{p.Name, b.Address}, []int64{t.Requests, bad}, []float64{busy, p95})
		requests += t.Requests
		wrong += bad
		inFlight += busy
		slowest = max(slowest, p95)
		if b.Condition().State == backend.StateUp {
			up++
		}
	}
	totals := p.Totals()
	r.pools.Note(p.Name, []int64{requests, wrong, total(totals.Refused)}, []float64{inFlight, slowest, float64(totals.Waiting), up})
}

// DigestOf returns the latest figures of a pool, or false before there are any.
func DigestOf(pool string) (d membership.Digest, ok bool) {
	r := currentRecorder()
	if r == nil {
		return d, false
	}
	r.whole.RLock()
	defer r.whole.RUnlock()
	tick, _ := r.pools.Tick()
	if tick == 0 {
		return d, false
	}
	_, f := r.pools.Since(pool, tick-1)
	if f == nil {
		return d, false
	}
	value := func(figure int) float64 {
		v := float64(f[figure][0])
		if math.IsNaN(v) {
			return 0
		}
		return math.Round(10*v) / 10
	}
	return membership.Digest{Requests: value(0), Errors: value(1), Refused: value(2), InFlight: int(value(3))}, true
}

// History is the response to GET /ballast/history.
type History struct {
	Step float64   `json:"step_seconds"` // time between two values
	Tick uint64    `json:"tick"`         // number of the latest value, 0 before the first
	At   time.Time `json:"at"`           // of the latest value
	// Pools are those that have values after the given tick.
	Pools []PoolHistory `json:"pools"`
}

// PoolHistory are the latest values of the figures of a pool. Unknown values are null.
type PoolHistory struct {
	Pool     string         `json:"pool"`      // name
	From     uint64         `json:"from"`      // number of the first value
	Requests history.Values `json:"requests"`  // attempts per second
	Errors   history.Values `json:"errors"`    // failed attempts per second
	Refused  history.Values `json:"refused"`   // refused requests per second
	InFlight history.Values `json:"in_flight"` // requests
	P95      history.Values `json:"p95"`       // of the slowest backend, in seconds; 0 without responses
	Waiting  history.Values `json:"waiting"`   // requests in the queue
	Up       history.Values `json:"up"`        // backends
	// Backends are the histories of the requested backends.
	Backends []BackendValues `json:"backends,omitempty"`
}

// BackendValues are the latest values of the figures of a backend, as in [PoolHistory].
type BackendValues struct {
	ID       string         `json:"id"`        // as in BackendReport
	From     uint64         `json:"from"`      // number of the first value
	Requests history.Values `json:"requests"`  // attempts per second
	Errors   history.Values `json:"errors"`    // failed attempts per second
	InFlight history.Values `json:"in_flight"` // requests
	P95      history.Values `json:"p95"`       // in seconds; 0 without responses
}

// OfHistory returns the history that a query selects: of one pool or all, of the given backends of
// the pool, after a tick. It returns an error for a malformed query.
func OfHistory(query url.Values) (out History, err error) {
	if err := httpx.CheckQuery(query, "after", "backend...", "pool"); err != nil {
		return out, err
	}
	if asked := len(query["backend"]); asked > maxAsked {
		return out, fmt.Errorf("at most %d backends can be asked for at once, got %d", maxAsked, asked)
	}
	after, err := afterOf(query, "the number of a value")
	if err != nil {
		return out, err
	}
	if query.Has("backend") && query.Get("pool") == "" {
		return out, fmt.Errorf("backend needs the pool that it belongs to; write pool as well")
	}
	out = History{Step: history.Step.Seconds(), Pools: []PoolHistory{}}
	r := currentRecorder()
	if r == nil {
		return out, nil
	}
	r.whole.RLock()
	defer r.whole.RUnlock()
	tick, at := r.pools.Tick()
	out.Tick, out.At = tick, time.Now().Add(at-clock.Now()).UTC()
	for _, p := range pool.Pools() {
		if name := query.Get("pool"); name != "" && name != p.Name {
			continue
		}
		from, f := r.pools.Since(p.Name, after)
		if f == nil {
			continue
		}
		one := PoolHistory{Pool: p.Name, From: from, Requests: f[0], Errors: f[1], Refused: f[2], InFlight: f[3], P95: f[4], Waiting: f[5], Up: f[6]}
		for _, id := range query["backend"] {
			if b := p.Get(id); b != nil {
				if from, f := r.backends.Since(backendKey{p.Name, b.Address}, after); f != nil {
					one.Backends = append(one.Backends, BackendValues{id, from, f[0], f[1], f[2], f[3]})
				}
			}
		}
		out.Pools = append(out.Pools, one)
	}
	return out, nil
}
