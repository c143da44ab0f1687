// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package crossing tests the properties that must hold where two mechanisms of a pool interact.
// Random schedules of events run against the real reverse_proxy in virtual time, and each
// property is checked at every request. docs/decisions/009-crossings.md has the matrix of
// mechanisms that the tests read.
package crossing
