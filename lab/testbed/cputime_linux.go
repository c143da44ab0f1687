// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTimeOf returns the CPU time of f, without waits for a CPU.
func cpuTimeOf(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	f()
	return threadTime() - before
}

func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
