// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

// Fixed is a limit that does not change. Requests count until they are over.
type Fixed int

// Start returns the state to begin with.
func (f Fixed) Start() State { return State{Limit: float64(f)} }
