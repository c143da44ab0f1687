// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package l4

import "syscall"

// useRaw does nothing: the platform's connections are read as any other.
func (*source) useRaw(syscall.Conn) {}
