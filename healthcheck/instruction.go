// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import "github.com/ballast-lb/caddy-ballast/internal/health"

// Instruction is what the agent of a backend asks for in one answer. What is nil leaves
// in force what the agent asked for before.
type Instruction = health.Instruction

// AgentWeight is a weight as agents write it.
type AgentWeight = health.AgentWeight

// Admin is an administrative state of a backend.
type Admin = health.Admin

// The administrative states.
const (
	Ready = health.Ready // takes requests
	Drain = health.Drain // takes no new requests, but those bound to it
	Maint = health.Maint // takes none
)
