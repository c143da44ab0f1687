// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package pool

import "os"

// lock does nothing: processes with one data directory have one file here.
func lock(*os.File) error { return nil }
