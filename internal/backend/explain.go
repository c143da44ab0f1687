// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"fmt"
	"net/http"
)

// Explanation is which backend a policy would choose for a request now, and why.
type Explanation struct {
	// Policy is the name of the policy.
	Policy string
	// Backend is the one that it would choose; where chance has a part in it, the
	// likeliest. Nil for none.
	Backend *Backend
	// Odds is how likely that is, from 0 to 1.
	Odds float64
	// Why says in words how it comes.
	Why string
	// Candidates are all members of the pool, in their order.
	Candidates []Candidate
}

// Candidate is a backend in an explanation.
type Candidate struct {
	// Backend is the backend.
	Backend *Backend
	// Odds is how likely it is to be chosen, from 0 to 1.
	Odds float64
	// Score is what the policy goes by, by name; nil of one that it does not look
	// at.
	Score map[string]float64
	// PassedOver says why it would not be chosen; empty if it may be.
	PassedOver string
}

// Explainer explains what a policy would do. It changes nothing.
type Explainer func(r *http.Request) Explanation

// Explain has f explain what a policy of the pool does. A policy calls it when it
// is provisioned.
func (p *Pool) Explain(f Explainer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.explainers = append(p.explainers, f)
}

// TakeExplainer returns what was told last to Explain, which is no longer asked. A
// policy that has another one as its fallback explains what that does.
func (p *Pool) TakeExplainer() Explainer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.explainers) == 0 {
		return nil
	}
	last := p.explainers[len(p.explainers)-1]
	p.explainers = p.explainers[:len(p.explainers)-1]
	return last
}

// Explainers returns what explains the policies of the pool, one for each proxy that
// has one of Ballast's.
func (p *Pool) Explainers() []Explainer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.explainers
}

// Candidates returns the members of the view, as far as the view says who may be
// chosen and who may not.
func (v *View) Candidates() []Candidate {
	offered := make(map[*Backend]bool)
	for _, t := range v.Tiers {
		for _, b := range t.Backends {
			offered[b] = true
		}
	}
	all := make([]Candidate, 0, len(v.Members.All))
	for _, b := range v.Members.All {
		c := Candidate{Backend: b}
		if !offered[b] || !v.Usable(b) {
			c.PassedOver = v.unusableReason(b)
		}
		all = append(all, c)
	}
	return all
}

// unusableReason says why a backend is not usable.
func (v *View) unusableReason(b *Backend) string {
	switch c := b.Condition(); {
	case c.State == StateTrial:
		return "trial: it gets one request, to show that it is well"
	case c.State != StateUp:
		return c.State + ": " + c.Reason
	case b.EffectiveWeight() <= 0:
		return "its weight is 0"
	case b.full():
		return fmt.Sprintf("full: %d of %d requests", b.Taken(), b.limit())
	}
	return "it has just come back"
}

// PeekTrial returns a backend whose trial [Tier.HalfOpen] might claim, or nil.
func (t *Tier) PeekTrial() *Backend {
	for b := range t.halfOpen() {
		return b
	}
	return nil
}
