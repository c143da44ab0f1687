// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// AnswerListener receives the response to an attempt.
type AnswerListener interface {
	// Answered is called on the request's goroutine with the response header, before Caddy
	// handles it. It may add header fields, which go to the client unless Caddy retries the
	// request.
	Answered(req *http.Request, res *http.Response, b *backend.Backend)
}

// SetListener sets the listener of the announced attempt only. It must be called after
// [SetAttempt].
func SetListener(req *http.Request, l AnswerListener) {
	if a := attemptsOf(req, vars(req.Context())); a != nil {
		a.listener = l
	}
}

// answered calls the listener, if there is one.
func (a *attempts) answered(req *http.Request, res *http.Response, b *backend.Backend) {
	if l := a.listener; l != nil {
		a.listener = nil
		l.Answered(req, res, b)
	}
}
