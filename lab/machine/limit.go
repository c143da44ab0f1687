// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package machine

import "syscall"

// OpenFiles raises the limit of open files of this process and its children to need, or as far as
// the system permits, and returns the limit.
func OpenFiles(need uint64) uint64 {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		return 0
	}
	want := syscall.Rlimit{Cur: max(need, uint64(now.Cur)), Max: max(need, uint64(now.Max))}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
		return want.Cur
	}
	want = syscall.Rlimit{Cur: now.Max, Max: now.Max} // without root
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
		return want.Cur
	}
	return now.Cur
}
