// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/dialinfo"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/further"
	"github.com/ballast-lb/caddy-ballast/internal/replay"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// retrier makes the attempts of one request, by the retry policies of the pool.
type retrier struct {
	*Proxy
	policy  *retry.RetryPolicy // noRetries for a pool that does not retry
	req     *http.Request      // as Caddy sends it
	a       *attempts
	body    *replay.Body
	last    *replay.Response // the latest answer; nil for none
	trigger retry.Trigger    // of the current attempt; NoTrigger for the first
	hedged  *hedged          // of the first attempt, if there may be a second one at the same time; else nil
}

// roundTrip sends the request to the selected backend, and while it fails, to others. It returns
// the first answer that needs no further attempt, or else the last one, as it is.
func (r *retrier) roundTrip(b *backend.Backend) (*http.Response, error) {
	if r.policy == nil {
		r.policy = noRetries
	}
	// Of a request that may be sent once, too: the transport may have read some of the body for a
	// connection on which the backend has not received it.
	r.body = replay.Keep(r.req, r.policy.Body)
	defer r.body.Settle()
	req, err := r.body.Request(r.req)
	if err != nil {
		return nil, err
	}
	r.a.timeout = r.policy.Timeout
	fallbacks := 0
	for n := 1; ; n++ {
		var res *http.Response
		if r.hedged != nil && n == 1 {
			res, b, err = r.hedged.roundTrips(req, b)
		} else {
			res, err = r.attempt(req.Context(), req, r.a, b, nil)
		}
		if reason := r.a.reason; reason != pool.ReasonFailed && (err != nil || reason != "" && r.last != nil) {
			if err == nil { // the response to a refused gRPC request
				res = r.last.Of
			}
			return r.end(res, err) // it was not sent: the backend is full, or the client has left
		}
		policy := r.policy
		if r.pool.FallsBack(b) {
			policy = r.pool.FallbackPolicy()
		}
		trigger := further.Trigger(policy, r.req, res, err, err != nil && r.clientLeft())
		r.count(trigger == retry.NoTrigger && err == nil)
		if trigger == retry.NoTrigger {
			return r.end(res, r.notRetried(err))
		}
		if req = r.next(policy, n-fallbacks, trigger, b, res, err); req == nil {
			return r.end(res, r.notRetried(err))
		}
		if policy != r.policy {
			fallbacks = n // those so far were in the group
		}
		b, r.trigger = r.a.backend, trigger
	}
}

// next prepares attempt n+1 after attempt n on backend b, and returns its request; nil if there is no further
// attempt. If the policy allows another attempt, next keeps res with hold, even if it then returns nil.
func (r *retrier) next(policy *retry.RetryPolicy, n int, trigger retry.Trigger, b *backend.Backend, res *http.Response, failure error) *http.Request {
	retryAfter := further.RetryAfter(res)
	if policy != r.policy {
		retryAfter = 0 // another group sent it
	}
	wait, ok := policy.Wait(n, retryAfter)
	var req *http.Request
	var err error
	switch {
	case n > policy.Tries:
		err = errors.New("there are no further attempts")
	case !ok:
		err = errors.New("its Retry-After is too long")
	case !r.pool.MayRetry():
		Refuse(r.req, r.Proxy, r.pool, pool.ReasonBudget)
		r.pool.RetryCounters().Add(trigger, retry.Refused)
		err = errors.New("the retry budget is used up")
	default: // only now: it takes the body from the attempt, which may still be sending it
		req, err = r.body.Request(r.req)
	}
	further.FailedAttempt{Number: n, Backend: b, Trigger: trigger, Response: res, Err: failure, Wait: wait, Last: err}.Log(r.logger)
	if err != nil {
		return nil
	}
	r.hold(res)
	if !further.Sleep(r.req.Context(), wait) {
		return nil
	}
	to := r.selectAgain(r.req, r.a)
	if to == nil {
		if r.a.reason == pool.ReasonBudget {
			r.pool.RetryCounters().Add(trigger, retry.Refused)
		}
		return nil
	}
	return r.requestTo(req, r.a, to)
}

// end returns the answer to pass on: the answer to the latest attempt or, if it has none, the last answer before.
func (r *retrier) end(res *http.Response, err error) (*http.Response, error) {
	if r.a.publish != nil {
		r.a.publish()
	}
	switch last := r.last; {
	case last == nil:
	case last.Of == res, err != nil && r.req.Context().Err() == nil:
		return last.Whole(), nil
	default:
		last.Discard()
	}
	return res, err
}

// hold keeps an answer, instead of the one before.
func (r *retrier) hold(res *http.Response) {
	if res == nil {
		return
	}
	if r.last != nil {
		r.last.Discard()
	}
	r.last = replay.KeepResponse(res)
}

// clientLeft reports whether the client has left, or has failed to send the request.
func (r *retrier) clientLeft() bool { return r.req.Context().Err() != nil || r.a.sent.ClientFailed() }

// count counts the outcome of a further attempt.
func (r *retrier) count(won bool) {
	if r.trigger == retry.NoTrigger {
		return
	}
	outcome := retry.Lost
	if won {
		outcome = retry.Won
	}
	r.pool.RetryCounters().Add(r.trigger, outcome)
}

// notRetried returns err without what makes Caddy try again: the retries of the pool are made.
func (r *retrier) notRetried(err error) error {
	if e, ok := errors.AsType[reverseproxy.DialError](err); ok && r.policy != noRetries {
		return dialinfo.NoDialError(e)
	}
	return err
}

// selectAgain lets the policy select another backend. It returns nil if there is none.
func (p *Proxy) selectAgain(req *http.Request, a *attempts) *backend.Backend {
	o := a.original
	seen := *req // as the policy saw it before
	seen.Header, seen.Host = o.header, o.host
	var upstreams reverseproxy.UpstreamPool
	if p.foreignPolicyName != nil {
		var err error
		if upstreams, err = p.handler.DynamicUpstreams.GetUpstreams(&seen); err != nil {
			return nil
		}
		further.Provision(upstreams, o.upstreams)
	}
	u := p.handler.LoadBalancing.SelectionPolicy.Select(upstreams, &seen, o.w)
	if u == nil || a.refused {
		return nil
	}
	if b := a.backend; b != nil && &b.Upstream == u {
		return b
	}
	b := p.finder.Find(u.Dial)
	if b != nil {
		a.setAttempt(b, p.foreignPolicyName, len(a.tried)+1)
	}
	return b
}

// original is a request as its policy sees it, before the changes by header_up and by the options of the transport.
type original struct {
	header    http.Header
	host      string
	w         http.ResponseWriter
	upstreams reverseproxy.UpstreamPool // that a policy of Caddy chose from
}

// recordingPolicy records the request for further attempts.
type recordingPolicy struct{ reverseproxy.Selector }

// Select implements [reverseproxy.Selector].
func (s recordingPolicy) Select(upstreams reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	u := s.Selector.Select(upstreams, r, w)
	if vars := vars(r.Context()); vars != nil {
		if a := attemptsFor(r, vars); a.original == nil {
			a.original = &original{r.Header, r.Host, w, upstreams}
		}
	}
	return u
}

// Interface guards
var _ reverseproxy.Selector = recordingPolicy{}
