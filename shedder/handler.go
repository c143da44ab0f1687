// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/instances"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler refuses requests under overload, so that admitted requests are answered in time. It goes
// in front of the handlers that it protects, such as reverse_proxy. A refused request does not
// reach the backends: it gets an error with Status and a Retry-After field, through Caddy's error
// handling, and its body is not read.
//
// The learned limit, the requests in flight and the counters outlive a reload that leaves
// limiter, queue, priorities, keys and triggers unchanged.
//
// It sets the placeholders {http.ballast.shed} (admitted, queued or shed) and, for a refused
// request, {http.ballast.reason}: limit, pressure, queue_full, queue_timeout, queue_delay or
// outranked.
type Handler struct {
	// Name identifies this handler in metrics: readable text without braces. Handlers with
	// the same name share one limit and must have the same options. Default: the name of the
	// limiter, with a number from the second handler on.
	Name string `json:"name,omitempty"`
	// LimiterRaw decides how many requests may be in flight. Default: gradient.
	LimiterRaw json.RawMessage `json:"limiter,omitempty" caddy:"namespace=ballast.limiters inline_key=limiter"`
	// Queue lets requests wait before they are refused. Default: off.
	Queue *Queue `json:"queue,omitempty"`
	// Priorities assign levels to requests; the first match applies. Requests without a match
	// have the level normal.
	Priorities []*Priority `json:"priorities,omitempty"`
	// Per gives each key its own limiter.
	Per *Per `json:"per,omitempty"`
	// When lowers the limit while the machine is under pressure, by any of these triggers. It
	// has no effect on platforms without the signal.
	When []*Trigger `json:"when,omitempty"`
	// Status is the status of a refusal, from 400 to 599. Default: 503.
	Status int `json:"status,omitempty"`
	// RetryAfter is the Retry-After of refused requests, at least 1s. Default: the time in
	// which as many requests leave as were refused in the last second, randomly varied.
	RetryAfter caddy.Duration `json:"retry_after,omitempty"`
	// Shadow counts and logs refusals without refusing.
	Shadow bool `json:"shadow,omitempty"`

	// Position is the file and line of `shed` in the Caddyfile, for errors. The
	// Caddyfile adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`

	// Set by Provision, then read-only.
	gates    *gateSet
	leave    func() // removes the handler from the registry; nil before it is in it
	unwatch  func() // stops following the share of the fleet; nil without a fleet
	triggers triggers
	errs     map[admission.Cause]error
	log      shadowLog
}

// Queue configures the queue of waiting requests.
type Queue struct {
	// Size is the maximum number of waiting requests, from 1 to 1,000,000. Required.
	Size int `json:"size"`
	// Timeout is the longest wait. When requests have waited without a break for the whole
	// timeout, the newest is admitted first, and none waits longer than a twentieth of it.
	// Default: 1s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

const (
	defaultStatus  = http.StatusServiceUnavailable
	defaultTimeout = time.Second
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.shed", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error { return h.Position.Wrap(h.provision(ctx)) }

func (h *Handler) provision(ctx caddy.Context) error {
	identity, err := h.identity()
	if err != nil {
		return err
	}
	if err := h.check(); err != nil {
		return err
	}
	config := admission.Config{Pressure: len(h.When) > 0}
	limiter, err := h.limiter(ctx)
	if err != nil {
		return err
	}
	switch l := limiter.(type) {
	case builtIn:
		if err := l.limits(&config); err != nil {
			return err
		}
	case Limiter:
		config.Rule = limiterRule{l}
	default:
		return fmt.Errorf("%T is not a limiter; it must implement shedder.Limiter", limiter)
	}
	if h.Queue != nil {
		config.Queue, config.Timeout = h.Queue.Size, time.Duration(h.Queue.Timeout)
		if config.Timeout == 0 {
			config.Timeout = defaultTimeout
		}
	}
	if config.Levels, err = h.levels(ctx); err != nil {
		return err
	}
	if h.Status == 0 {
		h.Status = defaultStatus
	}
	h.errs = refusals()
	h.log.logger = ctx.Logger()
	h.triggers = subscribe(h.When, h.log.logger)
	label := h.Name
	if label == "" {
		label = limiter.CaddyModule().ID.Name()
	}
	f, err := fleetFor(ctx, config.Rule)
	if err != nil {
		return err
	}
	if f != nil { // gates of another fleet have other shares
		identity = append(identity, f.ID()...)
	}
	i, leave, err := registry.Join(ctx.GetMetricsRegistry(), instances.Handler{Name: h.Name, Label: label, Identity: string(identity)}, struct{}{},
		func() *gateSet { return newGateSet(config, h.Per) })
	if errors.Is(err, instances.ErrNameTaken) {
		return fmt.Errorf("two shed handlers are named %q and configured differently, but handlers with the same name share their state; write the same options, or another name", h.Name)
	}
	h.gates, h.leave = i.State, leave
	if err == nil && f != nil {
		h.unwatch = h.gates.follow(f, h.Name)
	}
	return err
}

// identity returns the options that decide which requests are admitted. Handlers with equal
// identities share a gateSet. It must be called before any module is loaded.
func (h *Handler) identity() ([]byte, error) {
	return json.Marshal(Handler{
		LimiterRaw: h.LimiterRaw, Queue: h.Queue, Priorities: h.Priorities, Per: h.Per, When: h.When,
	})
}

// limiter loads the limiter.
func (h *Handler) limiter(ctx caddy.Context) (caddy.Module, error) {
	if h.LimiterRaw == nil {
		return new(Gradient), nil
	}
	mod, err := ctx.LoadModule(h, "LimiterRaw")
	if err != nil {
		return nil, fmt.Errorf("loading limiter: %w", err)
	}
	return mod.(caddy.Module), nil
}

var (
	// retryAfters bounds retry_after; a response has whole seconds.
	retryAfters = caddyfileutil.Durations{Min: time.Second, Max: caddyfileutil.Year}
	// statuses bounds the status of a refusal.
	statuses = caddyfileutil.Ints{Min: 400, Max: 599}
)

// check validates the options.
func (h *Handler) check() error {
	if h.Name != "" {
		if err := caddyfileutil.CheckName(h.Name); err != nil {
			return err
		}
	}
	if h.Status != 0 {
		if err := statuses.Check("status", h.Status); err != nil {
			return err
		}
	}
	if err := retryAfters.Check("retry_after", h.RetryAfter); err != nil {
		return err
	}
	if q := h.Queue; q != nil {
		if err := limits.Check("queue's size", q.Size); err != nil {
			return err
		}
		if err := caddyfileutil.CheckDuration("queue's timeout", q.Timeout); err != nil {
			return err
		}
	}
	for _, t := range h.When {
		if err := t.check(); err != nil {
			return err
		}
	}
	if h.Per != nil {
		return h.Per.provision()
	}
	return nil
}

// Cleanup releases the resources of the handler.
func (h *Handler) Cleanup() error {
	h.triggers.close()
	if h.unwatch != nil {
		h.unwatch()
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
