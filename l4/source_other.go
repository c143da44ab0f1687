// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package l4

import "syscall"

// gone is nil: the platform has no way to see the end of a connection without reading.
var gone func(fd uintptr, sent bool) bool

// useRaw does nothing: the platform's connections are read as any other.
func (*source) useRaw(syscall.Conn) {}
