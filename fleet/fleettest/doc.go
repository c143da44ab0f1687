// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleettest is the conformance suite of stores of a fleet. It also has a store in memory,
// with faults, for tests of features that use a fleet.
//
//	func TestConformance(t *testing.T) {
//		fleettest.Run(t, func(t *testing.T) func() fleet.Conn {
//			server := start(t) // an empty one
//			return func() fleet.Conn { return connect(server) }
//		})
//	}
package fleettest
