// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import "github.com/ballast-lb/caddy-ballast/internal/health"

// Instruction contains what an agent sets in one answer. Nil fields leave the earlier values
// in force.
type Instruction = health.Instruction

// AgentWeight is a weight in the notation of agents.
type AgentWeight = health.AgentWeight

// Admin is an administrative state of a backend.
type Admin = health.Admin

// The administrative states.
const (
	Ready = health.Ready // gets requests
	Drain = health.Drain // gets no new requests, except those of its sessions
	Maint = health.Maint // gets no requests
)
