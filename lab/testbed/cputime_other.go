// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package testbed

import "time"

// cpuTimeOf returns the duration of f, which includes waits for a CPU.
func cpuTimeOf(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}
