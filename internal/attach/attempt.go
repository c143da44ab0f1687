// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Placeholders that tell of the latest attempt.
const (
	placeholders       = "http.ballast."
	placeholderPool    = placeholders + "pool"
	placeholderBackend = placeholders + "backend"
	placeholderPolicy  = placeholders + "policy"
	placeholderTries   = placeholders + "tries"
	placeholderReason  = placeholders + "reason"
)

// reasonFailed is the reason while the latest attempt has failed.
const reasonFailed = "attempt_failed"

// attempts is what one run of a request through one reverse_proxy has tried.
// It belongs to the request's goroutine.
type attempts struct {
	// url tells the run: each makes a URL of its own, which all its attempts
	// share, while the request variables are shared with other proxies too.
	url   *url.URL
	tried []*backend.Backend
	room  [3]*backend.Backend // for tried, without another allocation
	body  body                // of the first response

	// What was announced: a backend by a policy, as which attempt, or why there
	// is none.
	backend *backend.Backend
	policy  any
	number  int
	reason  string
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
// are not nil. The first run of all makes the placeholders known, which tell of
// the latest: one function for the request costs less than a value for each.
func attemptsFor(req *http.Request, vars map[string]any) *attempts {
	earlier, _ := vars[attemptsVar].(*attempts)
	if earlier != nil && earlier.url == req.URL {
		return earlier
	}
	a := &attempts{url: req.URL}
	a.tried = a.room[:0]
	vars[attemptsVar] = a
	if repl, _ := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); repl != nil && earlier == nil {
		repl.Map(func(key string) (any, bool) {
			if !strings.HasPrefix(key, placeholders) {
				return nil, false
			}
			return vars[attemptsVar].(*attempts).placeholder(key)
		})
	}
	return a
}

// placeholder returns the value of a placeholder, or false if it has none.
func (a *attempts) placeholder(key string) (any, bool) {
	if key == placeholderReason {
		return a.reason, a.reason != ""
	}
	if a.backend == nil {
		return nil, false
	}
	switch key {
	case placeholderPool:
		return a.backend.Pool, true
	case placeholderBackend:
		return a.backend.ID, true
	case placeholderPolicy:
		return a.policy, true
	case placeholderTries:
		return a.number, true
	}
	return nil, false
}

// try records that the request is sent to b.
func (a *attempts) try(b *backend.Backend) {
	a.tried = append(a.tried, b)
	a.reason = ""
}

// newBody returns the body to put around a response's: the one that came with
// the attempts, unless an earlier response, retried by its status, took it.
func (a *attempts) newBody() *body {
	if a.body.ReadCloser == nil {
		return &a.body
	}
	return new(body)
}

// Announce has the placeholders tell of an attempt on b, chosen by policy, that
// is the request's n-th.
func Announce(req *http.Request, b *backend.Backend, policy any, n int) {
	if vars := vars(req.Context()); vars != nil {
		a := attemptsFor(req, vars)
		a.backend, a.policy, a.number = b, policy, n
	}
}

// AnnounceNone has a placeholder say why there is no backend. It stands until
// another attempt is made.
func AnnounceNone(req *http.Request, reason string) {
	if vars := vars(req.Context()); vars != nil {
		attemptsFor(req, vars).reason = reason
	}
}
