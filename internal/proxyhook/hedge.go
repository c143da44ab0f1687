// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/attemptlog"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/further"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// noRetries is the policy of a pool that hedges and does not retry.
var noRetries = &retry.RetryPolicy{Body: retry.DefaultBody}

// hedgeable reports whether a request may get a second attempt when the first one is late.
func (p *Proxy) hedgeable(req *http.Request, a *attempts) bool {
	h := p.pool.HedgePolicy()
	switch {
	case h == nil, len(a.tried) > 0:
		return false
	case a.listener != nil, a.affinity == backend.SessionBound, p.affinity == backend.SessionBound: // the answer binds a session, or is of one
		return false
	case req.Method == http.MethodConnect, len(req.Header["Upgrade"]) > 0:
		return false
	}
	if h.Match == nil { // the method is enough
		return h.Matches(req)
	}
	seen := *req
	seen.Header, seen.Host = a.original.header, a.original.host
	return h.Matches(&seen)
}

// hedged makes the first attempt of a request and, if that is late, a second one. The second attempt has its own
// request, request variables and placeholders, since both run concurrently.
type hedged struct {
	retrier // makes the further attempts
	race    hedge.Race
	first   *http.Request    // of the first attempt
	url     url.URL          // likewise; a copy, since the transport sets its scheme
	to      *backend.Backend // likewise
	vars    map[string]any   // a copy of the request's variables; nil if they do not change
	refused bool             // a budget has refused a second attempt; only for its goroutine

	// Set by Second.
	second *attempts // nil before the second attempt
	other  *backend.Backend
	began  time.Duration
}

// newHedged returns the retrier of a request whose first attempt is late after delay.
func newHedged(p *Proxy, policy *retry.RetryPolicy, req *http.Request, a *attempts, delay time.Duration) *hedged {
	h := &hedged{retrier: retrier{Proxy: p, policy: policy, req: req, a: a}}
	h.hedged, h.race.Delay = h, delay
	return h
}

// roundTrips makes the first attempt, on backend b, and a second one if it is late. It returns the
// outcome that counts, and its backend.
func (h *hedged) roundTrips(req *http.Request, b *backend.Backend) (*http.Response, *backend.Backend, error) {
	h.first, h.url, h.to = req, *req.URL, b
	if h.writesVars {
		h.vars = maps.Clone(vars(req.Context()))
	}
	h.race.Timers, h.race.Hedger = b.HedgeTimers(), h
	res, by, err := h.race.Run(req.Context())
	if h.second != nil {
		h.settle(by, err)
	}
	if by == hedge.Second {
		b = h.other
	}
	return res, b, err
}

// Acceptable implements [hedge.Hedger].
func (h *hedged) Acceptable(res *http.Response, err error) bool {
	return err == nil && res.StatusCode < http.StatusInternalServerError && res.StatusCode != http.StatusTooManyRequests &&
		h.policy.AllowsStatus(res.StatusCode, res.Header.Get("Grpc-Status"), h.req) == retry.NoTrigger
}

// First implements [hedge.Hedger].
func (h *hedged) First(ctx context.Context) (*http.Response, error) {
	return h.attempt(ctx, h.first, h.a, h.to, nil)
}

// Second implements [hedge.Hedger].
func (h *hedged) Second(ctx context.Context) func() (*http.Response, error) {
	switch {
	case !h.pool.HasSpare(h.to):
		return nil
	case !h.pool.MayHedge():
		h.refuse()
		return nil
	}
	like, err := h.body.ForkRequest(h.first)
	if err != nil {
		return nil // the client still sends its body, or that is too large
	}
	req, second := h.fork(ctx, like)
	if b := h.selectAgain(req, second); b != nil && b != h.to && second.holdSlot(ctx, b) {
		if req = h.requestTo(req, second, b); req != nil && ctx.Err() == nil && h.pool.Hedge() {
			h.second, h.other, h.began = second, b, clock.Now()
			h.logger.Debug("attempt is late; making a second one", zap.String("pool", b.Pool),
				zap.String("backend", h.to.ID), zap.String("second", b.ID), zap.Duration("after", h.race.Delay))
			return func() (*http.Response, error) { return h.attempt(req.Context(), req, second, b, nil) }
		}
	}
	second.release()
	if like.Body != nil {
		_ = like.Body.Close()
	}
	return nil
}

// refuse counts a request whose second attempt a budget refuses, once.
func (h *hedged) refuse() {
	if !h.refused {
		h.refused = true
		h.pool.RetryCounters().Add(retry.Hedge, retry.Refused)
	}
}

// fork returns the request for the second attempt, which is like the first, and its state.
func (h *hedged) fork(ctx context.Context, like *http.Request) (*http.Request, *attempts) {
	known := h.vars
	if known == nil {
		known = vars(ctx)
	}
	known = maps.Clone(known)
	req := like.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, known))
	to := h.url
	req.URL = &to
	first := h.a.original
	a := &attempts{url: req.URL, timeout: h.a.timeout, hedgeable: true, original: &original{first.header, first.host, &further.HeaderWriter{Fields: make(http.Header)}, first.upstreams}}
	a.group, a.grouped = h.a.group, h.a.grouped
	a.tried = append(a.triedRoom[:0], h.to)
	a.source, a.ownSource.latest = &a.ownSource, a
	known[attemptsVar] = a
	return req, a
}

// settle merges the state of both attempts into the request, after the attempt by has won.
func (h *hedged) settle(by int, err error) {
	a, second, reason := h.a, h.second, h.a.reason
	a.addTried(h.other)
	o, ended := second.latestOutcome()
	if !ended {
		o = attemptlog.Entry{Backend: h.other, Took: clock.Now() - h.began, Cancelled: true}
	}
	o.Lost = by == hedge.First
	a.addOutcome(o, by == hedge.Second)
	result := retry.Lost
	if by == hedge.Second {
		reason = second.reason
		a.setAttempt(h.other, second.policy, len(a.tried))
		a.publish, a.sent = second.publish, second.sent
		maps.Copy(a.original.w.Header(), second.original.w.Header())
		if err == nil {
			result = retry.Won
		}
	}
	a.setReason(reason)
	h.pool.RetryCounters().Add(retry.Hedge, result)
}
