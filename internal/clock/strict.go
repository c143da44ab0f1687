// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build strictclock

package clock

import (
	"sync/atomic"
	"time"
)

// latest is the latest reading of Now.
var latest atomic.Int64

// Now is as in other builds, but two readings are never the same. In virtual time the clock stands
// still while anything runs, which hides what depends on the time between two readings.
func Now() time.Duration {
	for {
		last, now := latest.Load(), int64(read())
		if ahead := last - now; ahead >= 0 && ahead < int64(time.Millisecond) { // else it is the clock of another test
			now = last + 1
		}
		if latest.CompareAndSwap(last, now) {
			return time.Duration(now)
		}
	}
}
