// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package clock is a monotonic clock.
package clock

import "time"

// clockStart is the origin of Now.
var clockStart = time.Now()

// clockOffset keeps Now away from 0, which stands for never, and above it even if the clock of a
// test begins in the past.
const clockOffset = 100 * 365 * 24 * time.Hour

func read() time.Duration { return clockOffset + time.Since(clockStart) }

// Uptime returns how long this process has been running.
func Uptime() time.Duration { return Now() - clockOffset }
