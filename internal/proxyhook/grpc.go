// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// retries tracks Caddy's retry loop for a gRPC request. The answer to a refused request can be a
// gRPC response only if Caddy would not try again.
type retries struct {
	began time.Duration // start of the loop, as of [clock.Now]; 0 without gRPC
	count int           // backends requested
}

// tryTolerance is how far the clock of Caddy's loop may be ahead of retries.
const tryTolerance = time.Millisecond

// CountTry counts that Caddy requests a backend. It must be called before the selection.
func (p *Proxy) CountTry(req *http.Request) {
	if !httpx.IsGRPC(req) {
		return
	}
	if vars := vars(req.Context()); vars != nil {
		a := attemptsFor(req, vars)
		if a.retries.count++; a.retries.count == 1 {
			a.retries.began = clock.Now()
		}
	}
}

// last reports whether Caddy will not try again. It repeats LoadBalancing.tryAgain of
// reverse_proxy for a failure that may be retried.
func (p *Proxy) last(r retries) bool {
	lb := p.handler.LoadBalancing
	switch {
	case lb.Retries == 0 && lb.TryDuration == 0:
		return true
	case lb.TryDuration > 0 && clock.Now()-r.began+tryTolerance >= time.Duration(lb.TryDuration):
		return true
	}
	return lb.Retries > 0 && r.count > lb.Retries
}

// refuseGRPC returns the gRPC response to a refused gRPC request. It returns nil if the refusal
// must be an error as for other requests: if Caddy may try again, or if it has handle_response
// routes, which would take the status 200 for success.
func (p *Proxy) refuseGRPC(req *http.Request, a *attempts, message string) *http.Response {
	if a.retries.count == 0 || len(p.responseRoutes) > 0 || !p.last(a.retries) {
		return nil
	}
	return httpx.RefusedGRPC(req, message)
}
