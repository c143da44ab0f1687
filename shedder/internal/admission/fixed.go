// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

// Fixed is a constant limit. Requests count until their response ends.
type Fixed int

// Start returns the initial state.
func (f Fixed) Start() State { return State{Limit: float64(f)} }
