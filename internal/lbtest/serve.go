// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"errors"
	"net/http"
	"net/http/httptest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Reply is the reply of a handler to one request.
type Reply struct {
	*httptest.ResponseRecorder
	// Status is the status of the error, if the handler returned one with a status, or else of the
	// response.
	Status int
	// Err is the error that the handler returned.
	Err error
	// Placeholders are the placeholders of the request.
	Placeholders *caddy.Replacer
}

// Serve sends a request to a handler. next may be nil for a handler that does not call it.
func Serve(h caddyhttp.MiddlewareHandler, req *http.Request, next caddyhttp.Handler) Reply {
	w, repl := httptest.NewRecorder(), caddy.NewReplacer()
	err := h.ServeHTTP(w, Prepare(req, repl, w), next)
	r := Reply{w, w.Code, err, repl}
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		r.Status = handlerErr.StatusCode
	}
	return r
}

// Placeholder returns the value of a placeholder of Ballast, or "".
func (r Reply) Placeholder(name string) string {
	value, _ := r.Placeholders.GetString("http.ballast." + name)
	return value
}

// emptyHandler is the next handler after a proxy, which does nothing.
var emptyHandler = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// Serve sends a request through the proxy.
func (p *Proxy) Serve(req *http.Request) Reply { return Serve(p.Handler, req, emptyHandler) }
