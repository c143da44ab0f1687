// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// outcome is what happened to the session of a request.
type outcome int

const (
	sessionNew outcome = iota
	sessionKept
	sessionMoved
	sessionSpilled
	outcomes // number of outcomes
)

// outcomeNames are the outcomes in the placeholder and in metrics, boxed once.
var outcomeNames = [outcomes]any{"new", "kept", "moved", "spilled"}

const placeholder = "http.ballast.session"

// request is one attempt to find a backend for a request.
type request struct {
	*http.Request
	w         http.ResponseWriter // nil if Caddy provides none
	upstreams reverseproxy.UpstreamPool
	tried     []*backend.Backend
	stats     *sessionStats
	group     int // of the pool, as an index
	*memberIndex
}

// part returns the view of the request's group.
func (q *request) part() *pool.View { return q.view.Of(q.group) }

// setGroup sets the group of the request.
func (q *request) setGroup(group int) {
	q.group = group
	proxyhook.SetGroup(q.Request, group)
}

// chooseGroup chooses the group of the request: the group of its session, if the request may stay there. It reports
// whether the session is in the chosen group.
func (p *Sticky) chooseGroup(q *request, m boundBackend, known bool) (same bool) {
	if p.pool == nil || len(p.pool.Groups()) == 0 {
		return m.group == group.Main
	}
	if known && !q.retry() && p.pool.Groups().MayStay(q.Request, m.group) {
		q.setGroup(m.group)
		return true
	}
	q.group = proxyhook.GroupOf(q.Request, p.pool)
	return q.group == m.group
}

// retry reports whether the request was sent to a backend before.
func (q *request) retry() bool { return len(q.tried) > 0 }

// setOutcome sets the placeholder to the outcome, and counts it. A session that has begun or moved with an earlier
// attempt of the request was not kept by the request.
func (q *request) setOutcome(o outcome) {
	q.stats.outcomes[o].Add(1)
	repl, ok := q.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	if o == sessionKept && q.retry() {
		if earlier, _ := repl.Get(placeholder); earlier == outcomeNames[sessionNew] || earlier == outcomeNames[sessionMoved] {
			return
		}
	}
	repl.Set(placeholder, outcomeNames[o])
}

// Select implements [reverseproxy.Selector]. It returns nil if no backend can take the request;
// {http.ballast.reason} then has the reason.
func (p *Sticky) Select(upstreams reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	u := p.pick(upstreams, r, w)
	if u != nil && p.learner != nil {
		proxyhook.SetListener(r, p.learner)
	}
	return u
}

// refuse records the reason why there is no backend, and returns the result of Select.
func (p *Sticky) refuse(r *http.Request, reason pool.Reason) *reverseproxy.Upstream {
	return proxyhook.Refuse(r, p.proxy, p.pool, reason)
}

func (p *Sticky) pick(upstreams reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	q := &request{Request: r, w: w, upstreams: upstreams, tried: proxyhook.Tried(r), stats: p.stats}
	if p.pool != nil {
		q.memberIndex = p.index.Load()
	} else if len(upstreams) > 0 {
		q.memberIndex = p.listIndex(upstreams)
	} else {
		return p.refuse(r, pool.ReasonEmpty)
	}
	s := p.sessions.find(r, q.members)
	m, known := q.members[s.Backend]
	if s.foreign != "" && !(s.bound && known) {
		p.recordClash(s.foreign)
	}
	same := p.chooseGroup(q, m, s.bound && known)
	now := time.Now()
	p.checkWindow(now)
	if !s.bound {
		return p.begin(q, s)
	}
	defer proxyhook.Bind(r, backend.SessionBound)
	f, tried := affinityLost, known && slices.Contains(q.tried, m.Backend)
	switch {
	case known && !same && tried: // a fallback to the main group; the session stays where it is
		f = affinityKept
	case known && same:
		f = q.affinityOf(m, upstreams)
		if p.Rebalance > 0 {
			p.stats.observe(m.sessions, s.key)
		}
	}
	if f == affinityDown && p.OnDown == onFail {
		p.recordUse(s.Backend, s.key)
		return p.refuse(r, pool.ReasonSession)
	}
	if f == affinityKept && !tried {
		if u := p.rebalance(q, s, m, now); u != nil {
			return u
		}
		u, ok := p.keep(q, s, m)
		if ok {
			return u
		}
		if f = q.affinityOf(m, upstreams); f == affinityKept {
			f = affinityFull // or on trial: another request has taken the slot
		}
	}
	switch {
	case f == affinityDown, f == affinityLost, tried && s.beginning, f == affinityFull && p.OnFull == onRebind:
		return p.move(q, s)
	case f == affinityFull && !tried && p.OnFull == onWait && m.offered:
		return p.wait(q, s, m)
	}
	return p.spill(q, s)
}

// keep sends the request to the backend of its session, if that is possible. It returns nil and
// true if the retry budget is used up.
func (p *Sticky) keep(q *request, s session, m boundBackend) (u *reverseproxy.Upstream, ok bool) {
	if q.view == nil {
		proxyhook.SetAttempt(q.Request, backend.Permit{Backend: m.Backend}, policyName, len(q.tried)+1)
		u = q.upstreams[m.at]
	} else {
		if q.retry() && (!q.viewOf(m).NotOnTrial(m.Backend) || !p.pool.MayRetry()) {
			return nil, false // the fallback policy reports the reason
		}
		c, ok := q.viewOf(m).Reserve(m.Backend)
		if !ok {
			return nil, false
		}
		if q.retry() && !p.pool.Retry() {
			c.Release()
			return p.refuse(q.Request, pool.ReasonBudget), true
		}
		proxyhook.SetAttempt(q.Request, c, policyName, len(q.tried)+1)
		u = &m.Upstream
	}
	q.setOutcome(sessionKept)
	p.use(q, s)
	return u, true
}

// wait queues the request for the backend of its session.
func (p *Sticky) wait(q *request, s session, m boundBackend) *reverseproxy.Upstream {
	if q.retry() && !p.pool.Retry() {
		return p.refuse(q.Request, pool.ReasonBudget)
	}
	q.setOutcome(sessionKept)
	p.recordUse(s.Backend, s.key) // also if no slot becomes free
	c, reason := p.pool.Acquire(q.Context(), pool.AcquireOptions{Only: m.Backend})
	if c.Backend == nil {
		return p.refuse(q.Request, reason)
	}
	proxyhook.SetAttempt(q.Request, c, policyName, len(q.tried)+1)
	p.sessions.use(q.Request, s)
	return &m.Upstream
}

// begin lets the fallback policy choose for a request without a session, and begins a session.
func (p *Sticky) begin(q *request, s session) *reverseproxy.Upstream {
	u, b := p.choose(q)
	if b == nil {
		return u
	}
	q.setOutcome(sessionNew)
	if !s.keepable {
		return u
	}
	u = p.useWinner(q, u, b, p.sessions.bind(q.Request, s, idOf(b)))
	if _, ok := p.sessions.(*storeSessions); ok {
		proxyhook.SetListener(q.Request, begun{}) // a cookie has a listener
	}
	return u
}

// begun makes the attempt that begins a session one with a listener. Such an attempt gets no second one beside it,
// whose backend would get the session.
type begun struct{}

// Answered implements [proxyhook.AnswerListener].
func (begun) Answered(*http.Request, *http.Response, *backend.Backend) {}

// move lets the fallback policy choose the backend to which a session moves.
func (p *Sticky) move(q *request, s session) *reverseproxy.Upstream {
	u, b := p.choose(q)
	if b == nil {
		return u
	}
	to := idOf(b)
	switch {
	case to == s.Backend: // there is no other backend
		q.setOutcome(sessionKept)
		p.use(q, s)
		return u
	case s.beginning:
		q.setOutcome(sessionNew)
	default:
		q.setOutcome(sessionMoved)
	}
	return p.useWinner(q, u, b, p.sessions.bind(q.Request, s, to))
}

// useWinner sends the request to the backend to which a concurrent request has bound its
// session, if that is possible. Otherwise the request is served elsewhere this once.
func (p *Sticky) useWinner(q *request, u *reverseproxy.Upstream, b *backend.Backend, winner ID) *reverseproxy.Upstream {
	m, known := q.members[winner]
	if !known || m.Backend == b {
		return u
	}
	if !slices.Contains(q.tried, m.Backend) && q.affinityOf(m, q.upstreams) == affinityKept {
		if q.view == nil {
			proxyhook.SetAttempt(q.Request, backend.Permit{Backend: m.Backend}, policyName, len(q.tried)+1)
			return q.upstreams[m.at]
		}
		if view := q.viewOf(m); !q.retry() || view.NotOnTrial(m.Backend) {
			if c, ok := view.Reserve(m.Backend); ok {
				proxyhook.SetAttempt(q.Request, c, policyName, len(q.tried)+1) // and releases the other permit
				return &m.Upstream
			}
		}
	}
	q.setOutcome(sessionSpilled)
	return u
}

// spill lets the fallback policy choose a backend for this request only.
func (p *Sticky) spill(q *request, s session) *reverseproxy.Upstream {
	u, b := p.choose(q)
	if b == nil {
		return u
	}
	if idOf(b) == s.Backend { // there is no other backend
		q.setOutcome(sessionKept)
	} else {
		q.setOutcome(sessionSpilled)
	}
	p.use(q, s)
	return u
}

// use records the use of a session that stays with its backend.
func (p *Sticky) use(q *request, s session) {
	p.recordUse(s.Backend, s.key)
	p.sessions.use(q.Request, s)
}
