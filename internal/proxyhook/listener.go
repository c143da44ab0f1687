// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// AnswerListener is told of the response to an attempt.
type AnswerListener interface {
	// Answered is called on the request's goroutine, with the header of the
	// response of a backend, before Caddy looks at it. It may add to the header,
	// which goes to the client unless Caddy tries the request again.
	Answered(req *http.Request, res *http.Response, b *backend.Backend)
}

// SetListener has l told of the response to the attempt that was announced, and to no
// other. It must come after [SwapAnnounced].
func SetListener(req *http.Request, l AnswerListener) {
	if a := attemptsOf(req, vars(req.Context())); a != nil {
		a.listener = l
	}
}

// answered tells the listener, if there is one.
func (a *attempts) answered(req *http.Request, res *http.Response, b *backend.Backend) {
	if l := a.listener; l != nil {
		a.listener = nil
		l.Answered(req, res, b)
	}
}
