// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package persist

import "os"

// lock does nothing: on this system, processes with one data directory share one file.
func lock(*os.File) error { return nil }
