// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package further has what further attempts of a request need apart from the proxy.
package further

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// handshakeTimeout is the error of net/http for a TLS handshake that took too long. Nothing was sent.
const handshakeTimeout = "net/http: TLS handshake timeout"

// Trigger returns the trigger for which a policy sends a request again after an attempt; NoTrigger for none. gone
// reports that the client has caused the failure.
func Trigger(policy *retry.RetryPolicy, req *http.Request, res *http.Response, err error, gone bool) retry.Trigger {
	if err == nil {
		return policy.AllowsStatus(res.StatusCode, res.Header.Get("Grpc-Status"), req)
	}
	if gone {
		return retry.NoTrigger
	}
	f := outlier.FailureOf(err)
	for trigger, applies := range [...]bool{
		retry.Connect: f == outlier.TLSFailure || outlier.NoConnection(f, err) || strings.Contains(err.Error(), handshakeTimeout),
		retry.Reset:   f == outlier.Reset || f == outlier.Protocol,
		retry.Timeout: f == outlier.Timeout,
	} {
		if applies && policy.AllowsFailure(retry.Trigger(trigger), req) {
			return retry.Trigger(trigger)
		}
	}
	return retry.NoTrigger
}

// RetryAfter returns the delay of the Retry-After field of a response, which may be nil; 0 for none.
func RetryAfter(res *http.Response) time.Duration {
	if res == nil {
		return 0
	}
	return httpx.ParseRetryAfter(res.Header.Get("Retry-After"))
}

// Sleep waits for d, and reports false if ctx ends before.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Provision gives new upstreams the counts that policies compare, as Caddy does: those of
// the first attempt.
func Provision(upstreams, first reverseproxy.UpstreamPool) {
	hosts := make(map[string]*reverseproxy.Host, len(first))
	for _, u := range first {
		hosts[u.Dial] = u.Host
	}
	for _, u := range upstreams {
		if u.Host = hosts[u.Dial]; u.Host == nil { // of another tier, or new
			u.Host = new(reverseproxy.Host)
		}
	}
}

// NeverMatches is a request matcher. As reverse_proxy's retry_match it leaves only the requests to
// Caddy's own retries for which no backend was selected: see LoadBalancing.tryAgain.
type NeverMatches struct{}

// MatchWithError implements [caddyhttp.RequestMatcherWithError].
func (NeverMatches) MatchWithError(*http.Request) (bool, error) { return false, nil }

// HeaderWriter keeps the fields that a policy sets for the client, until the second attempt has won.
type HeaderWriter struct {
	// Fields are the fields that were set.
	Fields http.Header
}

// Header implements [http.ResponseWriter].
func (w *HeaderWriter) Header() http.Header { return w.Fields }

// Write implements [http.ResponseWriter].
func (*HeaderWriter) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements [http.ResponseWriter].
func (*HeaderWriter) WriteHeader(int) {}
