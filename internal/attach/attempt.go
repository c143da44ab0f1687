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
	url    *url.URL
	tried  []*backend.Backend
	room   [3]*backend.Backend // for tried, without another allocation
	reason bool                // the placeholder of that name is set
	body   body                // of the first response
}

const attemptsVar = "ballast.attempts"

// Tried returns the backends that this run of the request has been sent to, in
// order. The result must not be kept.
func Tried(req *http.Request) []*backend.Backend {
	if a := attemptsOf(req, vars(req.Context())); a != nil {
		return a.tried
	}
	return nil
}

// vars returns the request's variables, nil if it has none.
func vars(ctx context.Context) map[string]any {
	v, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	return v
}

func attemptsOf(req *http.Request, vars map[string]any) *attempts {
	a, _ := vars[attemptsVar].(*attempts)
	if a == nil || a.url != req.URL {
		return nil
	}
	return a
}

// attemptsFor returns the attempts of this run of the request, whose variables
// are not nil.
func attemptsFor(req *http.Request, vars map[string]any) *attempts {
	a := attemptsOf(req, vars)
	if a == nil {
		a = &attempts{url: req.URL}
		a.tried = a.room[:0]
		vars[attemptsVar] = a
	}
	return a
}

// try records that the request is sent to b.
func (a *attempts) try(ctx context.Context, b *backend.Backend) {
	a.tried = append(a.tried, b)
	if a.reason {
		a.reason = false
		replacer(ctx).Delete(placeholderReason)
	}
}

// newBody returns the body to put around a response's: the one that came with
// the attempts, unless an earlier response, retried by its status, took it.
func (a *attempts) newBody() *body {
	if a.body.ReadCloser == nil {
		return &a.body
	}
	return new(body)
}

// Announce sets the placeholders for an attempt on b, chosen by policy, that
// is the request's n-th.
func Announce(req *http.Request, b *backend.Backend, policy any, n int) {
	repl := replacer(req.Context())
	if repl == nil {
		return
	}
	repl.Set(placeholderPool, b.Values.Pool)
	repl.Set(placeholderBackend, b.Values.ID)
	repl.Set(placeholderPolicy, policy)
	repl.Set(placeholderTries, n)
}

// AnnounceNone sets the placeholder that says why there is no backend. It
// stands until another attempt is made.
func AnnounceNone(req *http.Request, reason string) {
	repl, vars := replacer(req.Context()), vars(req.Context())
	if repl == nil || vars == nil {
		return
	}
	attemptsFor(req, vars).reason = true
	repl.Set(placeholderReason, reason)
}

func replacer(ctx context.Context) *caddy.Replacer {
	repl, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return repl
}
