// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/mirror"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/attemptlog"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/tracked"
)

// Placeholders of the latest attempt.
const (
	placeholders       = "http.ballast."
	placeholderPool    = placeholders + "pool"
	placeholderBackend = placeholders + "backend"
	placeholderPolicy  = placeholders + "policy"
	placeholderTries   = placeholders + "tries"
	placeholderReason  = placeholders + "reason"
	// placeholderAttempts is that of all attempts.
	placeholderAttempts = placeholders + "attempts"
)

// attempts is the state of one run of a request through one reverse_proxy. It belongs to the
// request's goroutine, except for the fields that placeholders read.
type attempts struct {
	// url identifies the run: each run makes its own URL, which all its attempts share. The
	// request variables are shared with other proxies, too.
	url       *url.URL
	tried     []*backend.Backend
	triedRoom [3]*backend.Backend // array for tried; saves an allocation
	sent      *tracked.Exchange   // the latest attempt that was sent; nil for none
	held      *tracked.Exchange   // the attempt with a reserved slot; nil for none

	retries retries

	group   int  // of the pool, as an index
	grouped bool // the group is chosen

	original  *original     // for further attempts; nil if the pool makes none
	timeout   time.Duration // of each attempt to its response header; 0 for none
	hedgeable bool          // it may get a second attempt
	publish   func()        // sets Caddy's placeholders of the upstream; nil in the first attempt

	copied bool         // it was decided whether the request is mirrored
	copy   *mirror.Copy // nil for none

	waited   time.Duration    // of the next attempt, in the queue
	affinity backend.Affinity // likewise
	listener AnswerListener   // likewise; nil for none
	first    tracked.Exchange // the first attempt; saves an allocation

	source    *placeholderSource // of all runs of the request
	ownSource placeholderSource  // the source, in the first run

	// The values of the placeholders: the selected backend, its policy and the number of the
	// attempt, or the reason why there is none. They are written with the lock of source.
	backend      *backend.Backend
	policy       any
	number       int
	reason       pool.Reason
	refused      bool                // no backend was selected, for reason
	refusedBy    string              // name of the pool that had none; empty for a list
	outcomes     []attemptlog.Entry  // of the attempts so far
	outcomesRoom [1]attemptlog.Entry // array for outcomes; saves an allocation
}

// placeholderSource provides the placeholders of a request, from its latest run. The lock is
// needed because a transport may replace placeholders on its dialing goroutine.
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

// Tried returns the backends that this run of the request has been sent to, in order. The caller
// must not keep the result. Tried is called before each selection: it releases a backend that was
// selected before and never sent to.
func Tried(req *http.Request) []*backend.Backend {
	if a := attemptsOf(req, vars(req.Context())); a != nil {
		a.release()
		a.refused, a.waited = false, 0
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

// attemptsFor returns the attempts of this run of the request, whose variables must not be nil.
// The first run registers the placeholders, which always read the latest run. One function for
// the request is cheaper than a value for each placeholder.
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
	if key == placeholderAttempts {
		return attemptlog.Describe(a.outcomes), len(a.outcomes) > 0
	}
	if a.backend == nil {
		return a.refusedBy, a.refusedBy != "" && key == placeholderPool
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

// setAttempt sets the placeholders of an attempt.
func (a *attempts) setAttempt(b *backend.Backend, policy any, n int) {
	a.source.mu.Lock()
	defer a.source.mu.Unlock()
	a.backend, a.policy, a.number = b, policy, n
}

// policyName returns the name of the policy that chose the backend.
func (a *attempts) policyName() string {
	name, _ := a.policy.(string)
	return name
}

// setReason sets the placeholder for why there is no backend, or no response; "" for none.
func (a *attempts) setReason(reason pool.Reason) {
	if a.reason != reason {
		a.source.mu.Lock()
		defer a.source.mu.Unlock()
		a.reason = reason
	}
}

// setRefusal sets the placeholders for a request that gets no backend of a pool; nil for a list.
func (a *attempts) setRefusal(of *pool.Pool, reason pool.Reason) {
	a.source.mu.Lock()
	defer a.source.mu.Unlock()
	if a.reason = reason; of != nil {
		a.refusedBy = of.Name
	}
}

// addTried records that the request is sent to b.
func (a *attempts) addTried(b *backend.Backend) {
	a.tried = append(a.tried, b)
	a.setReason("")
}

// addOutcome adds the outcome of an attempt to the placeholder. won reports that it has won against the
// attempts before.
func (a *attempts) addOutcome(o attemptlog.Entry, won bool) {
	a.source.mu.Lock()
	defer a.source.mu.Unlock()
	if a.outcomes == nil {
		a.outcomes = a.outcomesRoom[:0]
	}
	for i := range a.outcomes {
		a.outcomes[i].Lost = a.outcomes[i].Lost || won
	}
	a.outcomes = append(a.outcomes, o)
}

// latestOutcome returns the latest outcome, or false if there is none.
func (a *attempts) latestOutcome() (o attemptlog.Entry, ok bool) {
	a.source.mu.Lock()
	defer a.source.mu.Unlock()
	if n := len(a.outcomes); n > 0 {
		return a.outcomes[n-1], true
	}
	return o, false
}

// unused returns a tracked.Exchange for another attempt. The first one needs no allocation.
func (a *attempts) unused() *tracked.Exchange {
	if a.first.Unused() {
		return &a.first
	}
	return new(tracked.Exchange)
}

// hold keeps a permit until the request is sent or the permit is released.
func (a *attempts) hold(ctx context.Context, c backend.Permit) {
	a.release()
	if c.Slot {
		a.held = a.unused()
		a.held.Reserve(ctx, c)
	}
}

// holdSlot holds a slot of b, and reports false if there is none.
func (a *attempts) holdSlot(ctx context.Context, b *backend.Backend) bool {
	if a.held == nil || a.held.Backend() != b {
		if !b.Take() {
			return false
		}
		a.hold(ctx, backend.Permit{Backend: b, Slot: true})
	}
	return true
}

func (a *attempts) release() {
	if a.held != nil {
		a.held.Release()
		a.held = nil
	}
}

// SetAttempt announces the n-th attempt of the request, on the backend of permit c, chosen by
// policy. It sets the placeholders and holds the permit.
func SetAttempt(req *http.Request, c backend.Permit, policy any, n int) {
	vars := vars(req.Context())
	if vars == nil { // the request will not be sent
		c.Release()
		return
	}
	a := attemptsFor(req, vars)
	a.setAttempt(c.Backend, policy, n)
	a.listener, a.affinity, a.waited = nil, backend.Unbound, c.Waited
	a.hold(req.Context(), c)
}

// Bind sets the affinity of the announced attempt. It must be called after [SetAttempt].
func Bind(req *http.Request, to backend.Affinity) {
	if a := attemptsOf(req, vars(req.Context())); a != nil {
		a.affinity = to
	}
}

// Hold keeps a permit until the request is sent. The pool calls it for policies of Caddy;
// Ballast's policies call [SetAttempt].
func Hold(req *http.Request, c backend.Permit) {
	if vars := vars(req.Context()); vars != nil {
		a := attemptsFor(req, vars)
		a.waited = c.Waited
		a.hold(req.Context(), c)
	} else {
		c.Release()
	}
}
