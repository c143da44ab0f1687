// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/refusal"
)

// grpcError returns the HTTP status that a gRPC status in the header or trailer
// of a response amounts to if the backend is to blame for it, else 0.
func grpcError(fields http.Header) int {
	switch status := fields["Grpc-Status"]; {
	case len(status) == 0:
	case status[0] == "14": // UNAVAILABLE
		return http.StatusServiceUnavailable
	case status[0] == "4": // DEADLINE_EXCEEDED
		return http.StatusGatewayTimeout
	}
	return 0
}

// grpcType begins the media types of gRPC, which have no case.
const grpcType = "application/grpc"

func isGRPC(res *http.Response) bool {
	kind := res.Header["Content-Type"]
	return len(kind) > 0 && len(kind[0]) >= len(grpcType) && strings.EqualFold(kind[0][:len(grpcType)], grpcType)
}

// retries follows the retry loop of Caddy for a gRPC request, whose refusal is an
// answer only if Caddy would not try again.
type retries struct {
	began time.Duration // when the loop did, by [backend.Now]; 0 without gRPC
	count int           // how often a backend was asked for
}

// tryTolerance is what the clock of Caddy's loop may be ahead of retries.
const tryTolerance = time.Millisecond

// CountTry notes that Caddy asks for a backend. It comes before the backend is
// selected.
func (p *Proxy) CountTry(req *http.Request) {
	if !refusal.IsGRPC(req) {
		return
	}
	if vars := vars(req.Context()); vars != nil {
		a := attemptsFor(req, vars)
		if a.retries.count++; a.retries.count == 1 {
			a.retries.began = clock.Now()
		}
	}
}

// last reports whether Caddy will not try again. It is LoadBalancing.tryAgain of
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

// refuseGRPC returns the answer to a gRPC request that is refused, or nil if the
// refusal is an error as others are: if Caddy may try again, or hands responses to
// routes, which would take a 200 for consent.
func (p *Proxy) refuseGRPC(req *http.Request, a *attempts, message string) *http.Response {
	if a.retries.count == 0 || len(p.responseRoutes) > 0 || !p.last(a.retries) {
		return nil
	}
	res := &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: make(http.Header), Body: http.NoBody, Request: req,
	}
	refusal.SetGRPC(res.Header, message)
	return res
}
