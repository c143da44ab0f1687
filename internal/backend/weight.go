// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/loadreport"
)

// Factors are the factors of an effective weight.
type Factors struct {
	// Configured is the configured weight.
	Configured float64
	// Operator, Agent, Reported and SlowStart are factors of the weight, 1 by default. They come from the
	// operator, the agents, the load reports relative to those of other backends, and the slow start.
	Operator, Agent, Reported, SlowStart float64
}

// Weight returns the product.
func (f Factors) Weight() float64 {
	return f.Configured * f.Operator * f.Agent * f.Reported * f.SlowStart
}

// Factors returns the current factors of the backend's weight.
func (b *Backend) Factors() Factors {
	f := Factors{Agent: 1, Reported: b.Load.Factor(), SlowStart: b.Ramp.Factor()}
	f.Configured, f.Operator = b.baseWeight()
	for _, v := range b.statuses {
		f.Agent *= v.AgentFactor(f.Configured * f.Operator)
	}
	return f
}

// baseWeight returns the configured weight and the operator's factor. A factor cannot raise a
// configured weight of 0, so an absolute operator weight replaces it.
func (b *Backend) baseWeight() (configured, operator float64) {
	configured, w := float64(valueOr(b.Weight, 1)), b.OperatorWeight()
	if w != nil && !w.Relative && configured == 0 {
		return w.Value, 1
	}
	return configured, w.Factor(configured)
}

// WeightReplacedBy returns what decides the backend's share of the requests instead of its
// configured weight and the operator's: an agent that sets a weight, or load reports; empty for
// nothing.
func (b *Backend) WeightReplacedBy() string {
	switch {
	case slices.ContainsFunc(b.statuses, (*health.Status).AgentSetsWeight):
		return "the weight of its agent"
	case b.Load.Compared():
		return "its load reports"
	}
	return ""
}

// BaseWeight implements [loadreport.Reporter]: it returns the weight that the configuration or the
// operator says.
func (b *Backend) BaseWeight() float64 {
	configured, operator := b.baseWeight()
	return configured * operator
}

// Reports implements [loadreport.Reporter].
func (b *Backend) Reports() *loadreport.Load { return &b.Load }

// Attempts implements [loadreport.Reporter].
func (b *Backend) Attempts() int64 { return b.begun.Load() }

// EffectiveWeight returns the current weight.
func (b *Backend) EffectiveWeight() float64 { return b.Factors().Weight() }
