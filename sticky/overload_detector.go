// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"math"
	"time"
)

// window is for how long sessions are counted before it is decided which backends
// have too many.
const window = 10 * time.Second

const (
	// overloadWindows is over how many windows a backend must have had too many.
	overloadWindows = 3
	// overloadSigma is how many sigma make it no chance.
	overloadSigma = 4
	// moveShare is the share of what a backend has too many that moves in one
	// window: nine tenths are gone after six of them.
	moveShare = 1.0 / 3
)

// overloadDetector says whether a backend has more sessions than it should. The zero value
// says it has not. It belongs to whoever has it.
type overloadDetector struct {
	counts     [overloadWindows]float64 // of the latest windows, the latest first
	known      int                      // how many of them there are
	overloaded bool
}

// update notes how many sessions a backend had in a window where a fair share was
// fair, and returns how many may move in the next one. From above ratio times the
// share they move until there are no more than that share: a backend that is at the
// edge does not begin again and again. coverage says which share of all sessions is
// used in a window, from 0 to 1: where that is few, the counts of equal backends
// differ by chance, by sqrt(fair x (1 - coverage)).
func (s *overloadDetector) update(count, fair, ratio, coverage float64) int64 {
	copy(s.counts[1:], s.counts[:])
	s.counts[0], s.known = count, min(s.known+1, overloadWindows)
	switch {
	case s.overloaded && count <= fair:
		s.reset()
	case !s.overloaded && count > ratio*fair:
		sum, expected := 0.0, fair*float64(s.known)
		for _, n := range s.counts[:s.known] {
			sum += n
		}
		s.overloaded = sum-expected >= overloadSigma*math.Sqrt(expected*(1-coverage))
	}
	if !s.overloaded {
		return 0
	}
	return int64(math.Ceil((count - fair) * moveShare))
}

// reset says that nothing is known.
func (s *overloadDetector) reset() { *s = overloadDetector{} }

// minIdle is for how many seconds a session must have been idle to move, when a
// part of the window has passed, from 0 to 1: from a tenth of the idle lifetime at
// its beginning to nothing at its end. So those that were idle for longest move
// first, as many as may.
func minIdle(grain int64, passed float64) int64 {
	left := 1 - min(max(passed, 0), 1)
	return int64(math.Exp(left*math.Log(float64(grain)+1))) - 1
}
