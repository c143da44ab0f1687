// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package lbtest

// RaceDetector reports whether the race detector is on.
const RaceDetector = false
