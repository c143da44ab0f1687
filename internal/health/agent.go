// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package health

import "github.com/ballast-lb/caddy-ballast/internal/clip"

// Admin is an administrative state: whether a backend may be used, independent of its health.
type Admin uint32

// The administrative states.
const (
	Ready Admin = iota // takes requests
	Drain              // no new requests, except those of its sessions
	Maint              // no requests
)

var adminNames = [...]string{"ready", "drain", "maint"}

// String returns the name in the admin API and in metrics.
func (a Admin) String() string { return adminNames[a] }

// Instruction is one answer of the agent of a backend. Nil fields leave the agent's earlier
// values in force.
type Instruction struct {
	// Weight is the weight of the backend.
	Weight *AgentWeight
	// MaxRequests limits the requests in flight; 0 for no limit.
	MaxRequests *int
	// Admin is the administrative state.
	Admin *Admin
	// Up reports whether the backend is up.
	Up *bool
	// Reason is why the backend is down; may be empty.
	Reason string
}

// AgentWeight is an absolute or relative weight.
type AgentWeight struct {
	// Value is a weight or, if Relative, a share of the configured weight: 1 for all of it.
	Value float64 `json:"value"`
	// Relative reports that Value is a share.
	Relative bool `json:"relative,omitempty"`
}

// Factor returns the factor by which to multiply the configured weight.
func (w *AgentWeight) Factor(configured float64) float64 {
	switch {
	case w == nil:
		return 1
	case w.Relative:
		return w.Value
	case configured == 0:
		return 0
	}
	return w.Value / configured
}

// ApplyInstruction applies an agent's instruction, and reports whether anything changed. It takes
// effect at once, without fails or passes. It affects only the values that agents set.
func (v *Status) ApplyInstruction(i Instruction) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.passes++
	if i.Weight != nil && (v.weight == nil || *i.Weight != *v.weight) {
		v.weight, changed = i.Weight, true
	}
	before := v.bits.Load()
	after := before
	if i.MaxRequests != nil {
		changed = v.maxRequests.Swap(int64(*i.MaxRequests)) != int64(*i.MaxRequests) || changed
		after &^= bitBounded
		if *i.MaxRequests > 0 {
			after |= bitBounded
		}
	}
	if i.Admin != nil {
		changed = changed || v.admin != *i.Admin
		v.admin = *i.Admin
		after &^= bitOut
		if v.admin != Ready {
			after |= bitOut
		}
	}
	if i.Up != nil {
		v.reached = true
		after &^= bitDown
		v.reason = ""
		if !*i.Up {
			after |= bitDown
			v.reason = clip.Text(i.Reason)
		}
	}
	v.lastErr = v.reason
	v.bits.Store(after)
	return changed || before != after
}

// AgentMaxRequests returns the agent's limit of requests in flight, 0 for no limit.
func (v *Status) AgentMaxRequests() int64 {
	if v.bits.Load()&bitBounded == 0 {
		return 0
	}
	return v.maxRequests.Load()
}

// ObserveAgentError records that the agent could not be queried. That does not count against the
// backend.
func (v *Status) ObserveAgentError(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fails++
	v.lastErr = clip.Text(err.Error())
}

// AgentFactor returns the agent's factor of the configured weight, 1 without an agent.
func (v *Status) AgentFactor(configured float64) float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.weight.Factor(configured)
}

// AgentSetsWeight reports whether the agent has set a weight, not a factor of the configured one.
func (v *Status) AgentSetsWeight() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.weight != nil && !v.weight.Relative
}

// Admin returns the administrative state that the agent has set.
func (v *Status) Admin() Admin {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.admin
}
