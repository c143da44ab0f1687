// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package backendconn

// tcpStateOf always returns tcpOther: the state is not available on this system.
func tcpStateOf(uintptr) tcpState { return tcpOther }

func unacknowledged(uintptr) int64 { return 0 }
