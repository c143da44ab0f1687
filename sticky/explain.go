// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"fmt"
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// explain is a [pool.Explainer]. It explains the affinity of the request's session or, if
// the request has no session or the session must move, the choice of the fallback policy. It
// binds nothing.
func (p *Sticky) explain(r *http.Request) pool.Explanation {
	q := &request{Request: r, stats: p.stats, memberIndex: p.index.Load()}
	s := p.sessions.find(r, q.members)
	if !s.bound {
		return p.explainChoice(q, "new session: ")
	}
	m, known := q.members[s.Backend]
	if !known {
		return p.explainChoice(q, "the backend of the session left the pool: ")
	}
	prefix := fmt.Sprintf("the session is bound to %s, which ", m.ID)
	if !p.pool.Groups().MayStay(r, m.group) {
		return p.explainChoice(q, prefix+"is in a group that the request may not stay in: ")
	}
	switch f := q.affinityOf(m, nil); {
	case f == affinityKept:
		now := time.Now()
		if to, ok := p.rebalanceTarget(q, s, m, now); ok {
			return p.explainOne(q, to, prefix+"is overloaded; the session moves")
		}
		return p.explainOne(q, m, prefix+"can take the request")
	case f == affinityFull && p.OnFull == onWait && m.offered:
		return p.explainOne(q, m, prefix+"is full; the request waits")
	case f == affinityFull:
		return p.explainChoice(q, prefix+"is full: ")
	case f == affinityDown && p.OnDown == onFail:
		e := p.explainNone(q)
		e.Why = prefix + "is down; on_down is fail"
		return e
	}
	return p.explainChoice(q, fmt.Sprintf("%sis %s: ", prefix, m.Condition().State))
}

// explainChoice explains the choice of the fallback policy.
func (p *Sticky) explainChoice(q *request, why string) pool.Explanation {
	e := p.explainNone(q)
	if p.explainFallback == nil {
		e.Why = why + fmt.Sprintf("chosen by %v, a policy of Caddy, which cannot be explained", p.fallbackName)
		return e
	}
	e = p.explainFallback(q.Request)
	e.Policy, e.Why = policyName.(string), why+e.Why
	return e
}

// explainOne explains a session that goes to one backend.
func (p *Sticky) explainOne(q *request, m boundBackend, why string) pool.Explanation {
	e := p.explainNone(q)
	e.Backend, e.Odds, e.Why = m.Backend, 1, why
	if m.group > group.Main {
		e.Group = m.Group
	}
	for i := range e.Candidates {
		switch c := &e.Candidates[i]; {
		case c.Backend == m.Backend:
			c.Odds, c.PassedOver = 1, ""
		case c.PassedOver == "":
			c.PassedOver = "the session is bound to another backend"
		}
	}
	return e
}

func (p *Sticky) explainNone(q *request) pool.Explanation {
	return pool.Explanation{Policy: policyName.(string), Candidates: p.pool.Candidates(q.view)}
}
