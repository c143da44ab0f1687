// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/hedge"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// waits holds the waiting times of a backend in a pool that hedges.
type waits struct {
	latency.Histogram // how long hedgeable attempts waited
	timers            hedge.Timers
}

// TrackWaits makes the backend record, from now on, how long hedgeable attempts wait.
func (s *State) TrackWaits() {
	if s.waits.Load() == nil {
		w := new(waits)
		w.Init()
		s.waits.CompareAndSwap(nil, w)
	}
}

// observeWait counts how long a hedgeable attempt waited for the response header, or until it was
// given up.
func (s *State) observeWait(a *Attempt, now, d time.Duration) {
	if !a.Hedgeable {
		return
	}
	if h := s.waits.Load(); h != nil {
		h.Observe(now, d)
	}
}

// AddWaits implements [hedge.Member]. An attempt that was given up counts as long as it waited, which
// is a lower bound. If it did not count, the late attempts that lose to a second one would be
// missing, and ever faster ones would seem late.
func (b *Backend) AddWaits(now time.Duration, d *latency.Distribution) {
	if h := b.waits.Load(); h != nil {
		d.Add(now, &h.Histogram)
	}
}

// SetHedgeDelay implements [hedge.Member].
func (b *Backend) SetHedgeDelay(delay time.Duration) { b.hedgeDelay.Store(int64(delay)) }

// HedgeDelay returns when an attempt on the backend is late; 0 for unknown. A trial is late when its end without an
// answer would fail it. Otherwise each trial of a backend that hangs would lose early, without a result, and another
// request would be the next one at once.
func (b *Backend) HedgeDelay() time.Duration {
	delay := time.Duration(b.hedgeDelay.Load())
	if rules := b.shared.outliers; rules != nil && delay > 0 && b.EjectionState() != outlier.Healthy {
		delay = max(delay, rules.TrialTimeout())
	}
	return delay
}

// HedgeTimers returns the timers of attempts on the backend that may be late. Its pool must hedge.
func (b *Backend) HedgeTimers() *hedge.Timers { return &b.waits.Load().timers }

// Interface guards
var _ hedge.Member = (*Backend)(nil)
