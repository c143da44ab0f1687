// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"

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

// attempts is what one run of a request through one reverse_proxy has tried.
// It belongs to the request's goroutine, but for what placeholders tell of.
type attempts struct {
	// url tells the run: each makes a URL of its own, which all its attempts
	// share, while the request variables are shared with other proxies too.
	url       *url.URL
	tried     []*backend.Backend
	triedRoom [3]*backend.Backend // for tried, without another allocation
	sent      *upload             // the latest; nil for none
	held      *trackedAttempt     // what a slot is reserved for; nil for none

	retries retries

	affinity backend.Affinity // of the next attempt
	listener AnswerListener   // likewise; nil for none
	first    trackedAttempt   // likewise room, for one

	source    *placeholderSource // of all runs of the request
	ownSource placeholderSource  // which is that of the first

	// What was announced: a backend by a policy, as which attempt, or why there
	// is none. It is written with notice's lock.
	backend *backend.Backend
	policy  any
	number  int
	reason  backend.Reason
	refused bool // and it was selected that there is none
}

// placeholderSource is what the placeholders of a request tell of: the latest run. A transport
// may replace placeholders on another goroutine, which dials.
type placeholderSource struct {
	mu     sync.Mutex
	latest *attempts
}

// placeholder returns the value of a placeholder, or false if it has none.
func (n *placeholderSource) placeholder(key string) (any, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.latest.placeholder(key)
}

const attemptsVar = "ballast.attempts"

// Tried returns the backends that this run of the request has been sent to, in
// order. The result must not be kept. It is asked before a backend is selected: one
// that was selected before, and never sent to, is given back.
func Tried(req *http.Request) []*backend.Backend {
	if a := attemptsOf(req, vars(req.Context())); a != nil {
		a.release()
		a.refused = false
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
	if earlier != nil {
		earlier.release()
	}
	a := &attempts{url: req.URL}
	a.tried = a.triedRoom[:0]
	vars[attemptsVar] = a
	if earlier != nil {
		a.source = earlier.source
		a.source.mu.Lock()
		defer a.source.mu.Unlock()
		a.source.latest = a
		return a
	}
	n := &a.ownSource
	n.latest, a.source = a, n
	if repl, _ := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); repl != nil {
		repl.Map(func(key string) (any, bool) {
			if !strings.HasPrefix(key, placeholders) {
				return nil, false
			}
			return n.placeholder(key)
		})
	}
	return a
}

// placeholder returns the value of a placeholder, or false if it has none.
func (a *attempts) placeholder(key string) (any, bool) {
	if key == placeholderReason {
		return string(a.reason), a.reason != ""
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

// setAttempt notes what was selected, and by what.
func (a *attempts) setAttempt(b *backend.Backend, policy any, n int) {
	a.source.mu.Lock()
	defer a.source.mu.Unlock()
	a.backend, a.policy, a.number = b, policy, n
}

// setReason notes why there is no backend, or no answer; "" for nothing.
func (a *attempts) setReason(reason backend.Reason) {
	if a.reason != reason {
		a.source.mu.Lock()
		defer a.source.mu.Unlock()
		a.reason = reason
	}
}

// addTried records that the request is sent to b.
func (a *attempts) addTried(b *backend.Backend) {
	a.tried = append(a.tried, b)
	a.setReason("")
}

// track returns the flight of another attempt: the one that came with the
// attempts, unless an earlier one took it.
func (a *attempts) track(c backend.Permit, stage uint32) *trackedAttempt {
	f := &a.first
	if f.stage.Load() != stageNew {
		f = new(trackedAttempt)
	}
	f.permit = c
	f.stage.Store(stage)
	return f
}

// hold keeps what was claimed until it is sent, or given back.
func (a *attempts) hold(ctx context.Context, c backend.Permit) {
	a.release()
	if c.Slot {
		a.held = a.track(c, stageReserved)
		a.held.watch(ctx)
	}
}

func (a *attempts) release() {
	if a.held != nil {
		a.held.release()
		a.held = nil
	}
}

// SetAttempt has the placeholders tell of an attempt on a backend that was claimed,
// chosen by policy, that is the request's n-th. It holds what was claimed.
func SetAttempt(req *http.Request, c backend.Permit, policy any, n int) {
	vars := vars(req.Context())
	if vars == nil { // it will be no attempt
		c.Release()
		return
	}
	a := attemptsFor(req, vars)
	a.setAttempt(c.Backend, policy, n)
	a.listener, a.affinity = nil, backend.Unbound
	a.hold(req.Context(), c)
}

// Bind notes what binds the request to the backend that was announced. It must come
// after [SwapAnnounced].
func Bind(req *http.Request, to backend.Affinity) {
	if a := attemptsOf(req, vars(req.Context())); a != nil {
		a.affinity = to
	}
}

// keyedPolicies are the policies of Caddy that keep keys with their backends.
var keyedPolicies = map[any]bool{"ip_hash": true, "client_ip_hash": true, "uri_hash": true, "query": true, "header": true, "cookie": true}

// AffinityOf returns what binds the requests for which a policy of Caddy chooses.
func AffinityOf(policy any) backend.Affinity {
	if keyedPolicies[policy] {
		return backend.SessionBound
	}
	return backend.Unbound
}

// Hold keeps what was claimed until it is sent. It is for the pool, where the policy
// is Caddy's: Announce is for policies.
func Hold(req *http.Request, c backend.Permit) {
	if vars := vars(req.Context()); vars != nil {
		attemptsFor(req, vars).hold(req.Context(), c)
	} else {
		c.Release()
	}
}
