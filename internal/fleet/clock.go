// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import "time"

// maxAhead bounds how far the clock follows the versions of other instances. Without it, one wrong
// record could set it ahead permanently.
const maxAhead = 365 * 24 * time.Hour

// Now returns a new version, greater than every version that this instance has made or applied: a
// hybrid logical clock of 48 bits of milliseconds since 1970 and 16 bits of a counter (Kulkarni et
// al., "Logical Physical Clocks", 2014). It does not follow versions more than a year ahead.
func (f *Fleet) Now() uint64 {
	if f == nil {
		return versionAt(time.Now())
	}
	for {
		last := f.clock.Load()
		next := max(last+1, versionAt(time.Now()))
		if f.clock.CompareAndSwap(last, next) {
			return next
		}
	}
}

// observe makes all versions that Now returns from now on greater than this one.
func (f *Fleet) observe(version uint64) {
	for {
		last := f.clock.Load()
		if version <= last || version > versionAt(time.Now().Add(maxAhead)) || f.clock.CompareAndSwap(last, version) {
			return
		}
	}
}

func versionAt(t time.Time) uint64 { return uint64(t.UnixMilli()) << 16 }
