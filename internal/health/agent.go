// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package health

import "github.com/ballast-lb/caddy-ballast/internal/clip"

// Admin is an administrative state: whether a backend is to be used, whatever
// its health.
type Admin uint32

// The administrative states.
const (
	Ready Admin = iota // takes requests
	Drain              // takes no new requests, but those bound to it
	Maint              // takes none
)

var adminNames = [...]string{"ready", "drain", "maint"}

// String returns the name in the admin API and in metrics.
func (a Admin) String() string { return adminNames[a] }

// Instruction is what the agent of a backend asks for in one answer. What is nil
// leaves in force what the agent asked for before.
type Instruction struct {
	// Weight is the weight to have.
	Weight *AgentWeight
	// MaxRequests bounds the requests in flight; 0 for no bound.
	MaxRequests *int
	// Admin is the administrative state to be in.
	Admin *Admin
	// Up says whether the backend is up.
	Up *bool
	// Reason may say why it is not.
	Reason string
}

// AgentWeight is a weight as agents write it.
type AgentWeight struct {
	// Value is a weight or, if Relative, the share of the configured one: 1 for
	// all of it.
	Value float64 `json:"value"`
	// Relative tells which.
	Relative bool `json:"relative,omitempty"`
}

// Factor returns what the configured weight is to be multiplied with.
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

// ApplyInstruction has the verdict follow an agent's instruction, and reports whether
// anything changed. An agent's word counts at once. It undoes nothing but what
// it did itself, since nothing else writes here.
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

// AgentMaxRequests returns how many requests in flight the agent lets there be, 0 for any
// number.
func (v *Status) AgentMaxRequests() int64 {
	if v.bits.Load()&bitBounded == 0 {
		return 0
	}
	return v.maxRequests.Load()
}

// ObserveAgentError records that an agent could not be asked. That says nothing of the
// backend.
func (v *Status) ObserveAgentError(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fails++
	v.lastErr = clip.Text(err.Error())
}

// AgentFactor returns what the agent, if there is one, makes of the configured
// weight.
func (v *Status) AgentFactor(configured float64) float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.weight.Factor(configured)
}

// Admin returns the administrative state that the agent asks for.
func (v *Status) Admin() Admin {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.admin
}
