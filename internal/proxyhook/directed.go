// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Sender sends requests to backends of a pool that the caller chooses. It uses a reverse_proxy of
// its own, so that header fields, TLS, limits and counters are as for any other request. Safe for
// concurrent use.
type Sender struct {
	handler *reverseproxy.Handler
	pool    *pool.Pool
}

// NewSender returns a Sender for a module that is being provisioned. source must be a pool, as in
// reverse_proxy's dynamic_upstreams; transport may be nil.
func NewSender(ctx caddy.Context, source, transport json.RawMessage) (*Sender, error) {
	config := map[string]json.RawMessage{"dynamic_upstreams": source}
	if transport != nil {
		config["transport"] = transport
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	mod, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", raw)
	if err != nil {
		return nil, err
	}
	handler := mod.(*reverseproxy.Handler)
	proxy, ok := handler.Transport.(*Proxy)
	if !ok || proxy.pool == nil {
		return nil, errors.New("the source is not a pool")
	}
	handler.Transport = &directedTransport{proxy}
	handler.LoadBalancing.SelectionPolicy = directedPolicy{}
	return &Sender{handler: handler, pool: proxy.pool}, nil
}

// Pool returns the pool.
func (s *Sender) Pool() *pool.Pool { return s.pool }

// Directed is one attempt on a chosen backend.
type Directed struct {
	// Backend is the backend to send to, whether or not it is eligible.
	Backend *backend.Backend
	// Tried is the number of earlier attempts on this backend.
	Tried int
	// Answered is called on the goroutine of Send with the header of the response, and may read
	// the body. The response that it returns goes to the ResponseWriter. If it returns nil, the
	// body is closed. The ResponseWriter gets the header all the same, and must not pass it on.
	Answered func(res *http.Response) *http.Response

	err error // of the transport
}

// ErrAborted means that a response is incomplete: the backend or the client broke the connection
// while it was sent.
var ErrAborted = errors.New("the response is incomplete")

type directedKey struct{}

// Template returns a copy of a request that Caddy's server has prepared, to be sent after the
// request itself has ended. It has no body, and none of the fields of the client's connection,
// such as those of an upgrade. Its context has the values of the request's, and is never
// cancelled.
func Template(r *http.Request) *http.Request {
	ctx := context.WithoutCancel(r.Context())
	known := maps.Clone(vars(ctx)) // other goroutines write to the request's own
	delete(known, attemptsVar)
	t := r.Clone(context.WithValue(ctx, caddyhttp.VarsCtxKey, known))
	t.Body, t.GetBody, t.TransferEncoding, t.Close = http.NoBody, nil, nil, false
	httpx.RemoveConnectionFields(t.Header)
	return t
}

// Send makes an attempt with a request made from a [Template], and writes the response to w. It
// returns the error of the attempt, or [ErrAborted].
func (s *Sender) Send(w http.ResponseWriter, r *http.Request, e *Directed) (err error) {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("the request does not come from Caddy's server")
	}
	// Concurrent attempts write to placeholders and variables, so each gets its own.
	r2 := r.WithContext(context.WithValue(r.Context(), directedKey{}, e))
	r2 = caddyhttp.PrepareRequest(r2, caddy.NewReplacer(), w, server)
	maps.Copy(vars(r2.Context()), vars(r.Context()))
	defer func() {
		switch p := recover(); p {
		case nil:
			err = cmp.Or(e.err, err)
		case http.ErrAbortHandler:
			err = ErrAborted
		default:
			panics.Log("sending a request", p)
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.handler.ServeHTTP(w, r2, nil)
}

// directedPolicy is the selection policy of a Sender.
type directedPolicy struct{}

// Select returns the backend of the directed request.
func (directedPolicy) Select(_ reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	e, _ := r.Context().Value(directedKey{}).(*Directed)
	if e == nil {
		return nil
	}
	SetAttempt(r, backend.Permit{Backend: e.Backend}, "fanout", e.Tried+1)
	if a := attemptsOf(r, vars(r.Context())); a != nil {
		a.tried = append(a.tried, slices.Repeat([]*backend.Backend{e.Backend}, e.Tried)...) // so that it counts as a retry
		a.retries.count = 0                                                                 // a refusal is no gRPC response, which has status 200
	}
	return &e.Backend.Upstream
}

// directedTransport is the transport of a Sender.
type directedTransport struct{ *Proxy }

// RoundTrip passes the response to Directed.Answered before Caddy handles it.
func (t *directedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.Proxy.RoundTrip(req)
	e, _ := req.Context().Value(directedKey{}).(*Directed)
	if e == nil {
		return res, err
	}
	if e.err = err; err != nil {
		return res, err
	}
	if answer := e.Answered(res); answer != nil {
		return answer, nil
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	// The transport may still write to res while Caddy reads the header, so Caddy gets a copy.
	return &http.Response{
		Status: res.Status, StatusCode: res.StatusCode, Proto: res.Proto, ProtoMajor: res.ProtoMajor, ProtoMinor: res.ProtoMinor,
		Header: res.Header.Clone(), Body: http.NoBody, Request: res.Request,
	}, nil
}

// Interface guards
var (
	_ reverseproxy.Selector = directedPolicy{}
	_ http.RoundTripper     = (*directedTransport)(nil)
)
