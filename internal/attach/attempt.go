// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"context"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Placeholders that are set for each attempt.
const (
	placeholderPool    = "http.ballast.pool"
	placeholderBackend = "http.ballast.backend"
	placeholderPolicy  = "http.ballast.policy"
	placeholderTries   = "http.ballast.tries"
	placeholderReason  = "http.ballast.reason"
)

// reasonFailed is the reason while the latest attempt has failed.
const reasonFailed = "attempt_failed"

// attempts is what one run of a request through one reverse_proxy has tried.
// It belongs to the request's goroutine.
type attempts struct {
	// url tells the run: each makes a URL of its own, which all its attempts
	// share, while the request variables are shared with other proxies too.
	url   *url.URL
	tried []string
	// reason says that the placeholder of that name is set.
	reason bool
	room   [4]string // for tried, without another allocation
	body   body      // of the first response
}

const attemptsVar = "ballast.attempts"

// Tried returns the dial addresses that this run of the request has been sent
// to, in order. The result must not be kept.
func Tried(req *http.Request) []string {
	if a := attemptsOf(req); a != nil {
		return a.tried
	}
	return nil
}

func attemptsOf(req *http.Request) *attempts {
	a, _ := caddyhttp.GetVar(req.Context(), attemptsVar).(*attempts)
	if a == nil || a.url != req.URL {
		return nil
	}
	return a
}

// attemptsFor returns the attempts of this run of the request.
func attemptsFor(req *http.Request) *attempts {
	a := attemptsOf(req)
	if a == nil {
		a = &attempts{url: req.URL}
		a.tried = a.room[:0]
		caddyhttp.SetVar(req.Context(), attemptsVar, a)
	}
	return a
}

// tryBackend records that the request is sent to b.
func tryBackend(req *http.Request, b *backend.Backend) *attempts {
	a := attemptsFor(req)
	a.tried = append(a.tried, b.Address)
	if repl := replacer(req.Context()); repl != nil {
		repl.Set(placeholderTries, len(a.tried))
		if a.reason {
			a.reason = false
			repl.Delete(placeholderReason)
		}
	}
	return a
}

// newBody returns the body to put around a response's: the one that came with
// the attempts, unless an earlier response, retried by its status, took it.
func (a *attempts) newBody() *body {
	if a.body.ReadCloser == nil {
		return &a.body
	}
	return new(body)
}

// Announce sets the placeholders for an attempt on b, chosen by policy.
func Announce(req *http.Request, b *backend.Backend, policy any) {
	repl := replacer(req.Context())
	if repl == nil {
		return
	}
	repl.Set(placeholderPool, b.Values.Pool)
	repl.Set(placeholderBackend, b.Values.ID)
	repl.Set(placeholderPolicy, policy)
}

// AnnounceNone sets the placeholder that says why there is no backend.
// It stands until another attempt is made.
func AnnounceNone(req *http.Request, reason string) {
	if repl := replacer(req.Context()); repl != nil {
		attemptsFor(req).reason = true
		repl.Set(placeholderReason, reason)
	}
}

func replacer(ctx context.Context) *caddy.Replacer {
	repl, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return repl
}

func hasVars(ctx context.Context) bool {
	return ctx.Value(caddyhttp.VarsCtxKey) != nil
}
