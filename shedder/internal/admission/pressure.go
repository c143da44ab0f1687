// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	"time"
)

const (
	// pressEvery is the interval of pressure checks.
	pressEvery = 250 * time.Millisecond
	// Factors of the ceiling at each check, under pressure and without.
	lessUnderPressure, moreWithout = 0.9, 1.1
)

// AskPressure reports whether it is time to call Press.
func (g *Gate) AskPressure(now time.Duration) bool {
	last := g.pressureCheckedAt.Load()
	if last == 0 { // no earlier check: high is incomplete
		g.pressureCheckedAt.CompareAndSwap(0, int64(now))
		return false
	}
	return int64(now)-last >= int64(pressEvery) && g.pressureCheckedAt.CompareAndSwap(last, int64(now))
}

// Press lowers the ceiling under pressure, from the highest number in flight since the last call
// down to 1, and raises it without pressure until it is above the rule's limit.
func (g *Gate) Press(now time.Duration, pressure bool) {
	high := g.high.Swap(g.inFlight.Load())
	if pressure && high == 0 || !pressure && !g.pressed.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if pressure {
		g.ceiling = max(1, int64(float64(min(g.ceiling, high))*lessUnderPressure))
	} else if g.ceiling = int64(float64(g.ceiling)*moreWithout) + 1; g.ceiling >= int64(g.state.Limit) {
		g.ceiling = math.MaxInt64
	}
	g.apply()
	g.dispatch(now)
}
