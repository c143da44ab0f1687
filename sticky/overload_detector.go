// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"math"
	"time"
)

// window is the time over which sessions are counted before the detector decides.
const window = 10 * time.Second

const (
	// overloadWindows is the number of windows that the test covers.
	overloadWindows = 3
	// overloadSigma is the number of standard deviations that counts as significant.
	overloadSigma = 4
	// moveShare is the share of the excess that moves in one window. After six windows nine
	// tenths have moved.
	moveShare = 1.0 / 3
)

// overloadDetector tests whether a backend has significantly more sessions than its fair share.
// The zero value has no data. It is not safe for concurrent use.
type overloadDetector struct {
	counts     [overloadWindows]float64 // of the latest windows, the latest first
	known      int                      // number of valid counts
	overloaded bool
}

// update adds the count of a window in which the fair share was fair, and returns how many
// sessions may move in the next window. Sessions begin to move when the count is above ratio
// times the fair share, and move until it is at the fair share; the hysteresis keeps a backend
// at the threshold from starting again and again. coverage is the share of all sessions that
// are used in a window, from 0 to 1. With a low coverage the counts of equal backends differ by
// chance, by sqrt(fair x (1 - coverage)).
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

// reset discards all counts.
func (s *overloadDetector) reset() { *s = overloadDetector{} }

// minIdle returns for how many seconds a session must have been idle to move, when a part of
// the window has passed, from 0 to 1. It falls from a tenth of the idle lifetime at the begin
// to zero at the end, so that the sessions that were idle for longest move first, up to the
// quota.
func minIdle(grain int64, passed float64) int64 {
	left := 1 - min(max(passed, 0), 1)
	return int64(math.Exp(left*math.Log(float64(grain)+1))) - 1
}
