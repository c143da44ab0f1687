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

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/event"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler sends each request to all backends of a pool at once, retries failures, and answers
// when enough backends have accepted it. It does not call the next handler.
//
// It sets the placeholders {http.ballast.pool} and {http.ballast.fanout} (reached, no_quorum
// or timeout), and three lists of backend ids: {http.ballast.fanout.have} (the backends that
// have the write), {http.ballast.fanout.have_not} (those that do not) and
// {http.ballast.fanout.unknown} (those that may have it). {http.ballast.reason} is the reason
// why a request was refused or failed.
//
// It emits the event fanout_failed for each fan-out that ended without its quorum, with the
// data fanout, pool, reason, have, have_not, unknown and idempotency_key.
type Handler struct {
	// Name identifies this handler in metrics: readable text without braces.
	// Default: the name of the pool, with a number from the second handler on.
	Name string `json:"name,omitempty"`
	// Pool is the name of a pool of the ballast app. Set either Pool or Upstreams.
	Pool string `json:"pool,omitempty"`
	// Upstreams are the addresses of the backends, as in a pool.
	Upstreams []string `json:"upstreams,omitempty"`
	// Expect lists the status codes with which a backend accepts a request: codes
	// such as 201, ranges such as 200-204 and classes such as 2xx. Default: 2xx.
	Expect []string `json:"expect,omitempty"`
	// Quorum is how many backends must accept: all, majority or a number. Backends
	// that an operator or an agent has taken out do not count. Default: all.
	Quorum string `json:"quorum,omitempty"`
	// Retries is the maximum number of retries for each backend, from 0 to 1,000.
	// Default: 3.
	Retries *int `json:"retries,omitempty"`
	// Backoff sets the wait before each retry.
	Backoff *Backoff `json:"backoff,omitempty"`
	// Timeout limits a fan-out, with all tries and waits, and separately the upload
	// of the request body. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// MaxBody is the largest request body in bytes, from 1 to 1 GiB; larger ones get
	// status 413. Default: 1,000,000.
	MaxBody caddyfileutil.Size `json:"max_body,omitempty"`
	// Respond is the response when the quorum is reached: first (the response of the
	// first backend that accepted) or summary (JSON about all backends).
	// Default: first.
	Respond string `json:"respond,omitempty"`
	// IdempotencyHeader is the header field with the idempotency key, by which
	// backends recognise a repetition. A value from the client is kept; otherwise it
	// is a random UUID. Default: Idempotency-Key.
	IdempotencyHeader string `json:"idempotency_header,omitempty"`
	// Detach continues retries until Timeout after the quorum is reached or the
	// client has left. Default: off; tries in flight then have one more second after
	// the quorum, and end when the client leaves before it.
	Detach bool `json:"detach,omitempty"`
	// MaxRequests is the maximum number of concurrent fan-outs, including detached
	// ones, from 1 to 1,000,000; further requests get status 503. Default: 100.
	MaxRequests int `json:"max_requests,omitempty"`
	// MaxBytes is the maximum total size of the bodies in memory, at least MaxBody;
	// further requests get status 503. Default: 64,000,000, or MaxBody if larger.
	MaxBytes caddyfileutil.Size `json:"max_bytes,omitempty"`
	// TransportRaw is the transport to the backends, as in reverse_proxy.
	// Default: http.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	// Position is the file and line of `fanout` in the Caddyfile, for errors. The
	// Caddyfile adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`

	// Set by Provision, then read-only.
	logger   *zap.Logger
	sender   *proxyhook.Sender
	expect   httpx.StatusCodes
	quorum   quorum
	wait     backoff
	stats    *handlerStats
	label    string                    // in metrics
	leave    func()                    // the registry; nil before it has joined
	tell     func(data map[string]any) // logs and emits a failed fan-out
	executor event.Executor

	runs inFlightSet
}

// Backoff sets the wait before the n-th retry, counted from 0:
// min(base x 2^n + random, max + random), with random from 0 to the jitter.
type Backoff struct {
	// Base is the first wait, from 1ms to 365d. Default: 1s.
	Base caddy.Duration `json:"base,omitempty"`
	// Max is the longest wait, from 1ms to 365d. Default: 64s, or Base if longer.
	Max caddy.Duration `json:"max,omitempty"`
	// Jitter is the most that is added at random, up to 365d; 0 disables it.
	// Default: 100ms.
	Jitter *caddy.Duration `json:"jitter,omitempty"`
}

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
		h.logger.Warn("fan-out did not reach its quorum", fields...)
		event.Publish(event.Event{Name: event.FanoutFailedEvent, At: time.Now(), Data: maps.Clone(data)})
		events.(*caddyevents.App).Emit(ctx, event.FanoutFailedEvent, data)
	}
	source, err := h.source()
	if err != nil {
		return err
	}
	if h.sender, err = proxyhook.NewSender(ctx, source, h.TransportRaw); err != nil {
		return err
	}
	p := h.sender.Pool()
	if n := len(p.View().Members.All); h.Pool == "" && h.quorum.n > n {
		return fmt.Errorf("quorum %d can never be reached with %d upstreams; write all, majority or at most %d", h.quorum.n, n, n)
	}
	if err := h.join(ctx.GetMetricsRegistry(), p); err != nil {
		return err
	}
	p.Subscribe(func(v *pool.View) {
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
	// Upstreams have no outlier detection: none is configured, and ejections have no
	// effect with the quorum all.
	return json.Marshal(map[string]any{"source": "pool", "backends": backends, "outliers": map[string]bool{"off": true}})
}

// grace is how long detached work may continue after its configuration has ended.
const grace = 5 * time.Second

// Cleanup gives detached work a grace period of 5s. Fan-outs with a client continue in the old
// configuration, as other requests do. A reload waits for neither; at the exit of the process,
// Cleanup waits for detached work.
func (h *Handler) Cleanup() error {
	h.runs.close(grace)
	if caddy.Exiting() {
		h.runs.waitEmpty(grace + settleTime)
	}
	if h.leave != nil {
		h.leave()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
