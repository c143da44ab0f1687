// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(transport)) }

// Answerer answers one simulated request; sleep in it to simulate latency.
type Answerer func(req *http.Request) (status int, err error)

// Backends are the simulated backends by dial address.
type Backends map[string]Answerer

type backendsKey struct{}

// transport is the transport "lbtest", which asks a Backend.
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

// RoundTrip answers as the backend says, or with the request's own error if
// its context ends first.
func (tr *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	info, _ := reverseproxy.GetDialInfo(req.Context())
	header := http.Header{"X-Upstream": {info.Address}}
	status, err := tr.backends[info.Address](req.WithContext(context.WithValue(req.Context(), headerKey{}, header)))
	if ctxErr := req.Context().Err(); ctxErr != nil {
		err = ctxErr
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		// Of an unknown length Caddy would flush by a timer that is due at once: see Wait.
		Header: header, Body: io.NopCloser(bytes.NewReader(nil)), ContentLength: 0,
	}, nil
}

type headerKey struct{}

// ResponseHeader is the header that a [BackendReport] answers a request with, to add to.
func ResponseHeader(req *http.Request) http.Header {
	return req.Context().Value(headerKey{}).(http.Header)
}

// Refused is the error of a backend that does not listen. Like a dial error of
// the real transport it is retried for every method.
func Refused(*http.Request) (int, error) {
	return 0, reverseproxy.NewDialError(errRefused{})
}

type errRefused struct{}

func (errRefused) Error() string { return "connection refused" }

// Latency returns a Backend that answers 200 after d, or goes away with the
// client.
func Latency(d time.Duration) Answerer {
	return func(req *http.Request) (int, error) {
		Wait(req.Context(), d)
		return http.StatusOK, nil
	}
}

// Wait waits for d, and no longer than until ctx ends. Where there is nothing to wait
// for it makes no timer: the runtime of Go 1.26 may crash on one that is due at once,
// in a bubble of synctest and under the race detector.
func Wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
