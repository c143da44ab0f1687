// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

// Factors are what an effective weight is the product of.
type Factors struct {
	// Configured is the configured weight.
	Configured float64
	// Operator, Agent, Reported and SlowStart are factors of 1 where nobody
	// asked for anything else: the operator, the agent, the load reports of the
	// backend beside those of the others, and the ramp of a backend that has
	// come back.
	Operator, Agent, Reported, SlowStart float64
}

// Weight returns the product.
func (f Factors) Weight() float64 {
	return f.Configured * f.Operator * f.Agent * f.Reported * f.SlowStart
}

// Factors returns what the weight of the backend is made of now.
func (b *Backend) Factors() Factors {
	f := Factors{Agent: 1, Reported: b.Load.factor(), SlowStart: b.Ramp.factor()}
	f.Configured, f.Operator = b.baseWeight()
	for _, v := range b.statuses {
		f.Agent *= v.AgentFactor(f.Configured * f.Operator)
	}
	return f
}

// baseWeight returns the configured weight, and what the operator makes of it. Of a
// backend that is configured to take nothing no factor makes something, so that an
// operator's weight stands in for the configured one.
func (b *Backend) baseWeight() (configured, operator float64) {
	configured, w := float64(b.Weight), b.OperatorWeight()
	if w != nil && !w.Relative && configured == 0 {
		return w.Value, 1
	}
	return configured, w.Factor(configured)
}

// EffectiveWeight is the weight that counts now.
func (b *Backend) EffectiveWeight() float64 { return b.Factors().Weight() }
