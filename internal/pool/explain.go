// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// Explanation is the backend that a policy would choose for a request now, and why.
type Explanation struct {
	// Policy is the name of the policy.
	Policy string
	// Group is the name of the group of Backend; "" in a pool without groups.
	Group string
	// Backend is the backend that the policy would choose, or the most likely one if the choice
	// is random. Nil for none.
	Backend *backend.Backend
	// Odds is the probability of Backend, from 0 to 1.
	Odds float64
	// Why is the explanation in words.
	Why string
	// Candidates are all members of the pool, in order.
	Candidates []Candidate
}

// Candidate is a backend in an explanation.
type Candidate struct {
	// Backend is the backend.
	Backend *backend.Backend
	// Odds is the probability that the policy chooses it, from 0 to 1.
	Odds float64
	// Score holds the values that the policy compares, by name; nil if the policy does not look
	// at this backend.
	Score map[string]float64
	// PassedOver is why the policy would not choose it; empty if it may.
	PassedOver string
}

// Explainer explains which backend a policy would choose for r, without effects.
type Explainer func(r *http.Request) Explanation

// namedExplainer is the explainer of a policy, and the policy's name.
type namedExplainer struct {
	policy string
	Explainer
}

// Explain registers the explainer of a policy of the pool, by the policy's name. A policy calls it in
// Provision.
func (p *Pool) Explain(policy string, f Explainer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.explainers = append(p.explainers, namedExplainer{policy, f})
}

// TakeExplainer removes and returns the explainer that was registered last, or nil. A policy with
// a fallback policy takes the fallback's explainer and calls it itself.
func (p *Pool) TakeExplainer() Explainer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.explainers) == 0 {
		return nil
	}
	last := p.explainers[len(p.explainers)-1].Explainer
	p.explainers = p.explainers[:len(p.explainers)-1]
	return last
}

// Explainers returns the explainers of the pool, one for each reverse_proxy that has one of
// Ballast's policies.
func (p *Pool) Explainers() (all []Explainer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.explainers {
		all = append(all, e.Explainer)
	}
	return all
}

// Policies returns the names of these policies, each once.
func (p *Pool) Policies() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.explainers {
		if !slices.Contains(names, e.policy) {
			names = append(names, e.policy)
		}
	}
	return names
}

// Candidates returns all members of the pool, with PassedOver set for those that a view of it does
// not allow.
func (p *Pool) Candidates(v *View) []Candidate {
	offered := make(map[*backend.Backend]bool)
	for _, part := range v.EachGroup() {
		for _, t := range part.Tiers {
			for _, b := range t.Backends {
				offered[b] = part.Usable(b)
			}
		}
	}
	all := make([]Candidate, 0, len(v.Members.All))
	for _, b := range v.Members.All {
		c := Candidate{Backend: b}
		if !offered[b] {
			c.PassedOver = p.unusableReason(b)
		}
		all = append(all, c)
	}
	return all
}

// unusableReason returns why a backend is not usable.
func (p *Pool) unusableReason(b *backend.Backend) string {
	switch c := membership.Condition(p.Manager(), b); {
	case p.GroupOf(b) == group.Unknown:
		return "the pool has no group " + b.Group
	case c.State == backend.StateTrial:
		return "trial: half-open, the next request is the trial"
	case c.State != backend.StateUp:
		return c.State + ": " + c.Reason
	case b.Unused():
		return "not in the subset of this instance"
	case b.EffectiveWeight() <= 0:
		return "its weight is 0"
	case b.Full() && b.Limit() == 0:
		return "full: this instance has no share of the fleet's limit"
	case b.Full():
		return fmt.Sprintf("full: %d of %d requests", b.Taken(), b.Limit())
	}
	return "it has just become usable"
}
