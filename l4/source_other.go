// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package l4

import "syscall"

// gone is nil: the platform has no way to detect the end of a connection without reading from it.
var gone func(fd uintptr, sent bool) bool

// useRaw does nothing: read holds a buffer while it waits.
func (*source) useRaw(syscall.Conn) {}
