// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backendconn

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/keepalive"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/replay"
)

const (
	// maxBody is the most bytes of a body that are kept to be sent again on another connection.
	maxBody = 64 << 10
	// maxResends is how often a request is sent again at most after a part of it was written.
	maxResends = 2
	// maxUnwritten is the most connections that are tried to which nothing could be written: more than a
	// transport keeps idle for one backend by default.
	maxUnwritten = 64
)

// Resend is a request that failed on a stale connection.
type Resend struct {
	// Idle is for how long the connection was idle before.
	Idle time.Duration
	// Err is the error of the transport.
	Err error
	// Kept is why the request cannot be sent again, or nil.
	Kept error
}

// Log logs it at level debug.
func (r Resend) Log(logger *zap.Logger) {
	logger = logger.With(zap.Duration("idle", r.Idle), zap.Error(clip.Error(r.Err)))
	if r.Kept == nil {
		logger.Debug("backend closed an idle connection; sending the request again")
	} else {
		logger.Debug("backend closed an idle connection; the request cannot be sent again", zap.NamedError("reason", r.Kept))
	}
}

// sending is one use of a transport, and the context of the request.
type sending struct {
	httpx.TraceContext
	Request
	trace    httptrace.ClientTrace
	earlier  func(httptrace.GotConnInfo) // of the caller's trace; nil for none
	timeouts *keepalive.Estimator
	fresh    bool // the connection was made for this request
}

// begin returns the context of the request. It composes the traces itself, see [httpx.TraceContext].
func (s *sending) begin(ctx context.Context) context.Context {
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		s.trace.GotConn = s.gotConn
		return httptrace.WithClientTrace(ctx, &s.trace)
	}
	s.TraceContext = httpx.TraceContext{Context: ctx, Trace: &s.trace}
	s.trace, s.earlier = *trace, trace.GotConn
	s.trace.GotConn = s.gotConn
	return s
}

// gotConn is called by the transport when it has chosen a connection, before RoundTrip returns.
func (s *sending) gotConn(info httptrace.GotConnInfo) {
	s.waiting = false
	if c := Of(info.Conn); c != nil {
		s.Request, s.fresh = c.Begin(s.timeouts), !info.Reused && !info.WasIdle
	}
	if s.earlier != nil { // last, as WithClientTrace does
		s.earlier(info)
	}
}

// Send sends a request by a transport that [Watch] has prepared. If that fails on a connection that
// the backend has closed before it could receive the request, Send sends it again on another one,
// whatever its method, and calls resent before. The caller ends the returned use of a connection
// when the response has ended; it is nil without one.
func Send(ctx context.Context, next http.RoundTripper, req *http.Request, timeouts *keepalive.Estimator, resent func(Resend)) (*http.Response, *Request, error) {
	body := replay.Keep(req, maxBody)
	defer body.Settle()
	resends, unwritten := 0, 0
	again, kept := body.Request(req)
	if kept != nil {
		return nil, nil, kept
	}
	for {
		s := &sending{timeouts: timeouts, Request: Request{waiting: true}}
		res, err := next.RoundTrip(again.WithContext(s.begin(ctx)))
		if err == nil || s.fresh || ctx.Err() != nil {
			return res, &s.Request, err
		}
		switch s.Receipt() {
		case NotWritten:
			unwritten++
		case NotReceived:
			resends++
		default:
			if s.age > 0 && outlier.FailureOf(err) == outlier.Reset {
				timeouts.Suspect(clock.Now(), s.age)
			}
			return res, &s.Request, err
		}
		if resends > maxResends || unwritten > maxUnwritten {
			return res, &s.Request, err
		}
		again, kept = body.Request(req)
		if !s.Expired() || kept != nil {
			resent(Resend{s.age, err, kept})
		}
		if kept != nil {
			return res, &s.Request, err
		}
	}
}
