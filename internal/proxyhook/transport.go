// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
	"github.com/ballast-lb/caddy-ballast/internal/keepalive"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/attemptlog"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/dialinfo"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/responseroutes"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/tracing"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/tracked"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// RoundTrip sends the request to the selected backend, or by the policies of the pool to several.
func (p *Proxy) RoundTrip(req *http.Request) (*http.Response, error) {
	if p.rewrite != nil {
		req = p.rewrite(req)
	}
	ctx := req.Context()
	vars := vars(ctx)
	a, b, listed := p.selected(req, vars)
	switch {
	case b == nil && a != nil && a.refused:
		return p.refusal(ctx, req, a, a.reason)
	case b == nil:
		return p.next.RoundTrip(req)
	}
	if a.original != nil && p.copies != nil {
		c := p.copyOf(req, a)
		res, err := p.answer(c.Follow(req), a, b, listed)
		c.Answered(res, err)
		return res, err
	}
	return p.answer(req, a, b, listed)
}

// answer makes the attempts of a request, the first on backend b, and returns the answer that counts.
func (p *Proxy) answer(req *http.Request, a *attempts, b *backend.Backend, listed *reverseproxy.Upstream) (*http.Response, error) {
	if a.original != nil && p.further {
		policy := p.pool.RetryPolicy()
		if a.hedgeable = p.hedgeable(req, a); a.hedgeable {
			if delay := b.HedgeDelay(); delay > 0 {
				return newHedged(p, policy, req, a, delay).roundTrip(b)
			}
		}
		if policy != nil || p.pool.FallsBack(b) {
			r := &retrier{Proxy: p, policy: policy, req: req, a: a}
			return r.roundTrip(b)
		}
	}
	return p.attempt(req.Context(), req, a, b, listed)
}

// attempt sends the request to a backend, records the attempt, and counts its outcome. ctx is the context of req or
// derived from it; the request is copied to use ctx only when it is sent. listed is Caddy's upstream in a proxy
// without a pool.
func (p *Proxy) attempt(ctx context.Context, req *http.Request, a *attempts, b *backend.Backend, listed *reverseproxy.Upstream) (*http.Response, error) {
	f, reason := p.begin(ctx, a, b)
	if f == nil {
		a.setReason(reason)
		return p.refusal(ctx, req, a, reason)
	}
	if len(a.tried) > 0 {
		b.CountRetry()
	} else if p.pool != nil {
		p.pool.CountRequest()
	}
	a.addTried(b)
	if p.foreignPolicyName != nil {
		a.setAttempt(b, p.foreignPolicyName, len(a.tried))
		a.affinity = p.affinity
	}
	load := b.InFlight()
	if p.pool == nil { // policies compare the count of Caddy's upstream
		load = listed.NumRequests()
	}
	start := f.Begin(ctx, backend.Attempt{Load: load, Affinity: a.affinity, Hedgeable: a.hedgeable})
	returned := false
	defer func() {
		if !returned {
			f.EndPanicked()
		}
	}()
	if tracing.Traced(ctx) {
		var span tracing.Span
		ctx, req, span = tracing.Start(ctx, req, tracing.Attempt{Pool: b.Pool, Backend: b.ID, Policy: a.policyName(), Address: b.Address, Try: len(a.tried), Waited: a.waited})
		f.SetSpan(span)
	}
	res, err := p.exchange(ctx, req, a, f)
	returned = true
	a.addOutcome(attemptlog.Of(b, clock.Now()-start, res, err), false)
	return res, err
}

// exchange sends the request, and tracks the response.
func (p *Proxy) exchange(ctx context.Context, req *http.Request, a *attempts, f *tracked.Exchange) (*http.Response, error) {
	b := f.Backend()
	if p.pool != nil && p.pool.ClosesOnDown() {
		ctx = f.MakeStream(ctx)
	}
	watched := f.WatchUpload(req, a.sent)
	a.sent = f
	ctx, ip := dialinfo.WithIP(ctx, b)
	ctx, stop := retry.WithTimeout(ctx, a.timeout)
	res, err := stop(p.send(ctx, watched, f))
	if err == retry.ErrTimeout && f.Waiting() {
		err = dialinfo.ErrTimeout
	}
	now := clock.Now()
	if err != nil {
		a.setReason(pool.ReasonFailed)
		f.Fail(now, err)
		dialinfo.Failed(b, ip, err)
		return res, dialinfo.Clip(err)
	}
	b.KeepAlive.Announce(now, keepalive.Timeout(res.Header.Get("Keep-Alive")))
	metric := &p.metric
	if p.pool == nil {
		metric = nil
	}
	f.Answer(now, res, metric)
	a.answered(req, res, b)
	if f.TrackBody(now, res) && p.responseRoutes.Unread(res) {
		responseroutes.Discard(res)
	}
	return res, nil
}

// begin returns a tracked.Exchange with a slot of b, or the reason why there is none.
func (p *Proxy) begin(ctx context.Context, a *attempts, b *backend.Backend) (*tracked.Exchange, pool.Reason) {
	if f := a.held; f != nil && f.Backend() == b {
		a.held = nil
		if f.Claim() {
			return f, ""
		}
	}
	a.release()
	if ctx.Err() != nil {
		return nil, pool.ReasonGone
	}
	if !b.Take() {
		// Caddy's policies choose from a list without reserving, so concurrent requests may get
		// the same.
		c, reason := p.pool.Acquire(ctx, pool.AcquireOptions{Only: b})
		a.waited += c.Waited
		switch {
		case reason == "" && ctx.Err() != nil:
			c.Release()
			return nil, pool.ReasonGone
		case reason == "" && !c.Slot && !b.Take():
			reason = pool.ReasonFull
		}
		if reason != "" {
			if context.Cause(ctx) != hedge.ErrLost { // else the second attempt has answered meanwhile
				p.pool.Refuse(reason)
			}
			return nil, reason
		}
	}
	f := a.unused()
	f.Take(backend.Permit{Backend: b, Slot: true})
	return f, ""
}

// selected returns the backend that was selected for a request, and Caddy's upstream. The backend
// is nil for Caddy's own health checks through this transport, which have no request variables.
func (p *Proxy) selected(req *http.Request, vars map[string]any) (a *attempts, b *backend.Backend, u *reverseproxy.Upstream) {
	if p.finder == nil || vars == nil {
		return nil, nil, nil
	}
	info, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok || info.Upstream == nil {
		return nil, nil, nil
	}
	a = attemptsFor(req, vars)
	// The announced backend is the selected one, unless the policy is not Ballast's or another
	// module chose after it.
	if b = a.backend; b == nil || &b.Upstream != info.Upstream {
		b = p.finder.Find(info.Upstream.Dial)
	}
	return a, b, info.Upstream
}

// The optional interfaces of the wrapped transport are forwarded. For one that it lacks, Proxy
// answers as if it lacked it, too.

// TLSEnabled implements [reverseproxy.TLSTransport].
func (p *Proxy) TLSEnabled() bool {
	t, ok := p.next.(reverseproxy.TLSTransport)
	return ok && t.TLSEnabled()
}

// EnableTLS implements [reverseproxy.TLSTransport].
func (p *Proxy) EnableTLS(base *reverseproxy.TLSConfig) error {
	if t, ok := p.next.(reverseproxy.TLSTransport); ok {
		return t.EnableTLS(base)
	}
	return fmt.Errorf("the backends are https:// but transport %s has no TLS; write them without https://, or use `transport http`", nameOf(p.next))
}

// EnableH2C implements [reverseproxy.H2CTransport].
func (p *Proxy) EnableH2C() error {
	if t, ok := p.next.(reverseproxy.H2CTransport); ok {
		return t.EnableH2C()
	}
	return fmt.Errorf("transport %s does not support h2c", nameOf(p.next))
}

// DefaultBufferSizes implements [reverseproxy.BufferedTransport].
func (p *Proxy) DefaultBufferSizes() (request, response int64) {
	if t, ok := p.next.(reverseproxy.BufferedTransport); ok {
		return t.DefaultBufferSizes()
	}
	return 0, 0
}

// ProxyProtocolEnabled implements [reverseproxy.ProxyProtocolTransport].
func (p *Proxy) ProxyProtocolEnabled() bool {
	t, ok := p.next.(reverseproxy.ProxyProtocolTransport)
	return ok && t.ProxyProtocolEnabled()
}

// OverrideHealthCheckScheme implements
// [reverseproxy.HealthCheckSchemeOverriderTransport].
func (p *Proxy) OverrideHealthCheckScheme(base *url.URL, port string) {
	if t, ok := p.next.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		t.OverrideHealthCheckScheme(base, port)
	}
}

// RequestHeaderOps implements [reverseproxy.RequestHeaderOpsTransport].
func (p *Proxy) RequestHeaderOps() *headers.HeaderOps {
	if t, ok := p.next.(reverseproxy.RequestHeaderOpsTransport); ok {
		p.transportOps = t.RequestHeaderOps() // Caddy asks once, and provisions them
		return p.transportOps
	}
	return nil
}

// RequiresContentLength implements
// [reverseproxy.ContentLengthRequiredTransport].
func (p *Proxy) RequiresContentLength() bool {
	t, ok := p.next.(reverseproxy.ContentLengthRequiredTransport)
	return ok && t.RequiresContentLength()
}

// Interface guards
var (
	_ http.RoundTripper                                = (*Proxy)(nil)
	_ reverseproxy.TLSTransport                        = (*Proxy)(nil)
	_ reverseproxy.H2CTransport                        = (*Proxy)(nil)
	_ reverseproxy.BufferedTransport                   = (*Proxy)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Proxy)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Proxy)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Proxy)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*Proxy)(nil)
)
