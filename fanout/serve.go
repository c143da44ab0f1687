// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// retryAfter is the Retry-After of requests that find no room.
const retryAfter = time.Second

// ServeHTTP sends a request to all backends, and answers it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method == http.MethodConnect {
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("fanout: CONNECT is not supported"))
	}
	if r.ContentLength > int64(h.MaxBody) {
		return h.refuse(w, r, http.StatusRequestEntityTooLarge, reasonBody)
	}
	pool := h.sender.Pool()
	pool.Await(r.Context())
	if _, _, _, reason := choose(pool.View(), h.quorum); reason != "" {
		return h.refuse(w, r, http.StatusServiceUnavailable, reason)
	}
	reserved := r.ContentLength
	if reserved < 0 {
		reserved = int64(h.MaxBody) // until the length is known
	}
	if !h.stats.acquire(h.MaxRequests, int64(h.MaxBytes), reserved) {
		httpx.RetryAfter(w, retryAfter)
		return h.refuse(w, r, http.StatusServiceUnavailable, reasonBusy)
	}
	started := false
	defer func() {
		if !started {
			h.stats.release(reserved)
		}
	}()
	body, status, reason := h.read(w, r)
	if reason != "" {
		return h.refuse(w, r, status, reason)
	}
	h.stats.bytes.Add(int64(len(body)) - reserved)
	reserved = int64(len(body))

	// The upload may take a while: the targets are the members after it.
	view := pool.View()
	targets, total, leftOut, reason := choose(view, h.quorum)
	if reason != "" {
		return h.refuse(w, r, http.StatusServiceUnavailable, reason)
	}
	run := newRun(h, h.template(r), body, view, targets, total, leftOut)
	h.runs.add(run)
	started = true
	run.start()
	if left, closed := h.runs.closed(); closed {
		run.detachedFor(left)
	}
	run.members(pool.View().Members) // catch changes before the run was added
	return run.answer(w, r)
}

// refuse answers a request that is not sent to any backend.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, status int, reason string) error {
	if r.Context().Err() != nil {
		status, reason = httpx.StatusGone, gone.String()
	}
	h.stats.refuse(reason)
	httpx.SetReason(r, reason)
	httpx.Close(w, r)
	return caddyhttp.Error(status, fmt.Errorf("fanout: %s", reason))
}

// template returns the request that all backends get, with the idempotency key.
func (h *Handler) template(r *http.Request) *http.Request {
	t := proxyhook.Template(r)
	if t.Header.Get(h.IdempotencyHeader) == "" {
		t.Header.Set(h.IdempotencyHeader, uuid.NewString())
	}
	return t
}

// placeholder sets a placeholder of the client's request.
func placeholder(r *http.Request, name string, value any) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.ballast."+name, value)
	}
}
