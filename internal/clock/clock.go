// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package clock tells the time on a monotonic clock.
package clock

import "time"

// clockStart is where Now counts from.
var clockStart = time.Now()

// clockOffset is the time before clockStart, so that Now is never near 0, which may stand for
// never, and not below it either where a test's clock begins in the past.
const clockOffset = 100 * 365 * 24 * time.Hour

// Now returns the time on a clock that only goes forward. It costs half of
// [time.Now].
func Now() time.Duration { return clockOffset + time.Since(clockStart) }

// Uptime returns for how long this process runs.
func Uptime() time.Duration { return Now() - clockOffset }
