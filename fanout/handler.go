// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/event"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
	"github.com/ballast-lb/caddy-ballast/internal/status"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler sends each request to all backends of a pool at once, tries again where
// it fails, and answers when enough of them have accepted it. No handler behind it
// gets the request.
//
// It sets the placeholders {http.ballast.pool}, {http.ballast.fanout} (reached,
// no_quorum or timeout) and, of backends by their ids, {http.ballast.fanout.have},
// {http.ballast.fanout.have_not} and {http.ballast.fanout.unknown}: those that have
// the write, that do not, and that may have it. {http.ballast.reason} says why a
// request was refused or has failed.
//
// It emits the event fanout_failed for each fan-out that ended without its quorum,
// with the data fanout, pool, reason, have, have_not, unknown and idempotency_key.
type Handler struct {
	// Name tells this handler apart in metrics. It is readable text without
	// braces. Default: the name of the pool and, from the second one on, a number.
	Name string `json:"name,omitempty"`
	// Pool is the name of a pool of the ballast app. Either it or Upstreams is
	// required.
	Pool string `json:"pool,omitempty"`
	// Upstreams are the addresses of the backends, as in a pool.
	Upstreams []string `json:"upstreams,omitempty"`
	// Expect lists the status codes by which a backend accepts a request: codes
	// such as 201, ranges such as 200-204 and classes such as 2xx. Default: 2xx.
	Expect []string `json:"expect,omitempty"`
	// Quorum is how many backends must accept: all, majority (more than half of
	// those that nobody has taken out) or a number. Default: all.
	Quorum string `json:"quorum,omitempty"`
	// Retries is how many more times a backend is tried that did not accept, from 0
	// to 1,000. Default: 3.
	Retries *int `json:"retries,omitempty"`
	// Backoff is how long to wait before each of them.
	Backoff *Backoff `json:"backoff,omitempty"`
	// Timeout is for how long backends are tried, all tries and waits together, and
	// how long a client may take to send its body. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// MaxBody is the most bytes of a request's body, from 1 to 1 GiB; beyond, it
	// gets a 413. Default: 1,000,000.
	MaxBody int64 `json:"max_body,omitempty"`
	// Respond is what the client gets when the quorum is reached: first, the answer
	// of the backend that was the first to accept, or summary, JSON about all of
	// them. Default: first.
	Respond string `json:"respond,omitempty"`
	// IdempotencyHeader is the header field with the key by which backends can tell
	// that a request is one they know. The client's own value is kept; without, it
	// is a random UUID. Default: Idempotency-Key.
	IdempotencyHeader string `json:"idempotency_header,omitempty"`
	// Detach has backends be tried on after the quorum is reached, or the client has
	// left, until Timeout. Default: what is in flight then has another second.
	Detach bool `json:"detach,omitempty"`
	// MaxRequests is how many fan-outs there may be at once, detached ones among
	// them, from 1 to 1,000,000; beyond, a request gets a 503. Default: 100.
	MaxRequests int `json:"max_requests,omitempty"`
	// MaxBytes is how many bytes of bodies may be held at once, at least MaxBody;
	// beyond, a request gets a 503. Default: 64,000,000, or MaxBody if that is more.
	MaxBytes int64 `json:"max_bytes,omitempty"`
	// TransportRaw is how backends are spoken to, as in reverse_proxy. Default: http.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	// Position is the file and line of `fanout` in the Caddyfile, for errors. The
	// Caddyfile adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`

	// Set by Provision, then read-only.
	logger   *zap.Logger
	sender   *proxyhook.Sender
	expect   status.StatusCodes
	quorum   quorum
	wait     backoff
	stats    *handlerStats
	label    string // in metrics
	registry *handlerRegistry
	tell     func(data map[string]any) // that a fan-out has failed
	executor event.Executor

	runs inFlightSet
}

// Backoff is how long to wait before the n-th retry, counted from 0:
// min(base x 2^n + random, max + random), where random is up to the jitter.
type Backoff struct {
	// Base is the first wait, as the others from 1ms to 365d. Default: 1s.
	Base caddy.Duration `json:"base,omitempty"`
	// Max is the longest one. Default: 64s, or Base if that is more.
	Max caddy.Duration `json:"max,omitempty"`
	// Jitter is the most that is added at random; 0 for nothing. Default: 100ms.
	Jitter *caddy.Duration `json:"jitter,omitempty"`
}

const failedEvent = "fanout_failed"

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.fanout", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error { return h.Position.Wrap(h.provision(ctx)) }

func (h *Handler) provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := h.defaults(); err != nil {
		return err
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	h.tell = func(data map[string]any) {
		var fields []zap.Field
		for _, name := range slices.Sorted(maps.Keys(data)) {
			fields = append(fields, zap.Any(name, data[name]))
		}
		h.logger.Warn("fan-out ended without its quorum", fields...)
		event.Publish(event.Event{Name: failedEvent, At: time.Now(), Data: maps.Clone(data)})
		events.(*caddyevents.App).Emit(ctx, failedEvent, data)
	}
	source, err := h.source()
	if err != nil {
		return err
	}
	if h.sender, err = proxyhook.NewSender(ctx, source, h.TransportRaw); err != nil {
		return err
	}
	pool := h.sender.Pool()
	if n := len(pool.View().Members.All); h.Pool == "" && h.quorum.n > n {
		return fmt.Errorf("quorum %d can never be reached with %d upstreams; write all, majority or at most %d", h.quorum.n, n, n)
	}
	if err := h.join(ctx.GetMetricsRegistry(), pool); err != nil {
		return err
	}
	pool.Subscribe(func(v *backend.View) {
		h.runs.viewChanged(v)
		h.stats.prune(v.Members)
	})
	return nil
}

// source returns the configuration of the pool.
func (h *Handler) source() (json.RawMessage, error) {
	if h.Pool != "" {
		return json.Marshal(map[string]any{"source": "pool", "name": h.Pool})
	}
	var backends []map[string]string
	for _, address := range h.Upstreams {
		backends = append(backends, map[string]string{"dial": address})
	}
	// Nobody has asked for ejections here, and with the quorum all they would be
	// of no effect.
	return json.Marshal(map[string]any{"source": "pool", "backends": backends, "outliers": map[string]bool{"off": true}})
}

// grace is for how long detached work may go on when its configuration has ended.
const grace = 5 * time.Second

// Cleanup lets detached work go on for a grace of 5s. Fan-outs whose clients are there
// end where they began, as other requests do, and a reload waits for neither. When the
// process exits, it does wait for what is detached.
func (h *Handler) Cleanup() error {
	h.runs.close(grace)
	if caddy.Exiting() {
		h.runs.waitEmpty(grace + settleTime)
	}
	if h.registry != nil {
		h.registry.leave()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
