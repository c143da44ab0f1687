// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendconn"
	"github.com/ballast-lb/caddy-ballast/internal/replay"
)

const (
	// resendBody is how many bytes of a body are kept to be sent again on another connection.
	resendBody = 64 << 10
	// maxResends bounds how often a request is sent again after a part of it was written.
	maxResends = 2
	// maxUnwritten bounds how many connections are tried to which nothing could be written: more
	// than a transport keeps idle for one backend by default.
	maxUnwritten = 64
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// watchConnections wraps the connections to backends of Caddy's `http` transport, except those of
// HTTP/2. Other transports remain as they are.
func (p *Proxy) watchConnections(t *reverseproxy.HTTPTransport) {
	if t == nil || t.Transport == nil || t.Transport.DialContext == nil {
		return
	}
	p.watched = true
	rt := t.Transport
	watch := func(dial dialFunc) dialFunc {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil || rt.Protocols != nil && rt.Protocols.UnencryptedHTTP2() {
				return conn, err
			}
			if c, ok := conn.(*tls.Conn); ok && c.ConnectionState().NegotiatedProtocol == "h2" {
				return conn, nil
			}
			return backendconn.Wrap(conn), nil
		}
	}
	rt.DialContext = watch(rt.DialContext)
	if rt.DialTLSContext != nil {
		rt.DialTLSContext = watch(rt.DialTLSContext)
	}
}

// sending is one use of a connection for an attempt.
type sending struct {
	trace   httptrace.ClientTrace
	request backendconn.Request // the zero value without a connection that is watched
	backend *backend.Backend
	fresh   bool // the connection was made for this request
}

// gotConn is called by the transport when it has chosen a connection, before RoundTrip returns.
func (s *sending) gotConn(info httptrace.GotConnInfo) {
	if c := backendconn.Of(info.Conn); c != nil {
		s.request, s.fresh = c.Begin(&s.backend.KeepAlive), !info.Reused && !info.WasIdle
	}
}

// send sends the request of an attempt. If that fails on a connection that the backend has closed
// before it could receive the request, send sends it again on another one, whatever its method.
// That is still the same attempt.
func (p *Proxy) send(req *http.Request, f *trackedAttempt) (*http.Response, error) {
	if !p.watched {
		return p.next.RoundTrip(req)
	}
	body := replay.Keep(req, resendBody)
	defer body.Settle()
	first, err := body.Request(req)
	if err != nil {
		return nil, err
	}
	resends, unwritten := 0, 0
	for next := first; ; {
		s := &sending{backend: f.permit.Backend}
		s.trace.GotConn = s.gotConn
		res, err := p.next.RoundTrip(next.WithContext(httptrace.WithClientTrace(next.Context(), &s.trace)))
		f.sending = s
		if err == nil || s.fresh || req.Context().Err() != nil {
			return res, err
		}
		switch s.request.Receipt() {
		case backendconn.NotWritten:
			unwritten++
		case backendconn.NotReceived:
			resends++
		default:
			if s.request.Age() > 0 && outlier.FailureOf(err) == outlier.Reset {
				s.backend.KeepAlive.Suspect(clock.Now(), s.request.Age())
			}
			return res, err
		}
		if resends > maxResends || unwritten > maxUnwritten {
			return res, err
		}
		again, kept := body.Request(req)
		if !s.request.Expired() || kept != nil {
			p.logResend(f, s, err, kept)
		}
		if kept != nil {
			return res, err
		}
		if !s.request.Expired() {
			s.backend.CountResend()
		}
		next = again
	}
}

// logResend writes the debug log entry for a request that failed on a stale connection. kept is why
// it is not sent again, or nil.
func (p *Proxy) logResend(f *trackedAttempt, s *sending, err, kept error) {
	entry := p.logger.Check(zap.DebugLevel, "backend closed an idle connection; sending the request again")
	if kept != nil {
		entry = p.logger.Check(zap.DebugLevel, "backend closed an idle connection; the request cannot be sent again")
	}
	if entry == nil {
		return
	}
	b := f.permit.Backend
	fields := []zap.Field{
		zap.String("pool", b.Pool), zap.String("backend", b.ID), zap.Duration("idle", s.request.Age()), zap.Error(clip.Error(err)),
	}
	if kept != nil {
		fields = append(fields, zap.String("reason", kept.Error()))
	}
	entry.Write(fields...)
}

// recordKeepAlive records the timeout of the field Keep-Alive of a response.
func recordKeepAlive(b *backend.Backend, now time.Duration, h http.Header) {
	field := h.Get("Keep-Alive")
	for parameter := range strings.SplitSeq(field, ",") {
		name, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "timeout") {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
			b.KeepAlive.Announce(now, time.Duration(seconds)*time.Second)
		}
	}
}
