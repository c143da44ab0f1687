// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(transport)) }

// Answerer answers one simulated request. It may sleep to simulate latency.
type Answerer func(req *http.Request) (status int, err error)

// Backends are the simulated backends by dial address.
type Backends map[string]Answerer

type backendsKey struct{}

// transport is the transport "lbtest", which calls an Answerer.
type transport struct{ backends Backends }

func (*transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.lbtest",
		New: func() caddy.Module { return new(transport) },
	}
}

func (tr *transport) Provision(ctx caddy.Context) error {
	tr.backends, _ = ctx.Value(backendsKey{}).(Backends)
	return nil
}

// RoundTrip returns the answer of the backend or, as net/http does, the cause of the end of the
// request's context if that ends first.
func (tr *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	info, _ := reverseproxy.GetDialInfo(req.Context())
	res := &response{header: http.Header{"X-Upstream": {info.Address}}}
	status, err := tr.backends[info.Address](req.WithContext(context.WithValue(req.Context(), responseKey{}, res)))
	if cause := context.Cause(req.Context()); cause != nil {
		err = cause
	}
	if err != nil {
		return nil, err
	}
	body := &lateBody{Reader: bytes.NewReader(nil), ctx: req.Context(), wait: res.wait}
	if res.wait > 0 {
		body.Reader = strings.NewReader("late")
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		// With an unknown length Caddy would flush with a timer that is due at once: see Wait.
		Header: res.header, Body: io.NopCloser(body), ContentLength: body.Reader.(interface{ Size() int64 }).Size(),
	}, nil
}

// response is the response that an [Answerer] may change.
type response struct {
	header http.Header
	wait   time.Duration // from the header to the body; 0 for no body
}

type responseKey struct{}

// lateBody is a body with a delay before its first byte.
type lateBody struct {
	io.Reader
	ctx  context.Context
	wait time.Duration
}

func (b *lateBody) Read(p []byte) (int, error) {
	Wait(b.ctx, b.wait)
	b.wait = 0
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}

// LateBody is an Answerer that sends the header at once, and a body after d.
func LateBody(d time.Duration) Answerer {
	return func(req *http.Request) (int, error) {
		req.Context().Value(responseKey{}).(*response).wait = d
		return http.StatusOK, nil
	}
}

// ResponseHeader returns the header of the response, which an [Answerer] may change.
func ResponseHeader(req *http.Request) http.Header {
	return req.Context().Value(responseKey{}).(*response).header
}

// Refused is an Answerer that simulates a backend without a listener. Its error is retried for
// every method, like a dial error of the real transport.
func Refused(*http.Request) (int, error) {
	return 0, reverseproxy.NewDialError(errRefused{})
}

type errRefused struct{}

func (errRefused) Error() string { return "connection refused" }

// Latency returns an Answerer that answers 200 after d, or earlier if the client leaves.
func Latency(d time.Duration) Answerer {
	return func(req *http.Request) (int, error) {
		Wait(req.Context(), d)
		return http.StatusOK, nil
	}
}

// Wait waits for d, or until ctx ends. If d is not positive it makes no timer: the runtime of Go
// 1.26 may crash on a timer that is due at once, in a bubble of synctest and under the race
// detector.
func Wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
