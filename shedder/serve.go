// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

const (
	placeholderShed = "http.ballast.shed"

	shedAdmitted = "admitted"
	shedQueued   = "queued"
	shedRefused  = "shed"
)

// ServeHTTP passes a request to the next handler, or refuses it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	level, err := h.level(r)
	if err != nil {
		return err
	}
	gate, release := h.gates.gate(r)
	defer release()
	now := clock.Now()
	if len(h.triggers) > 0 && gate.AskPressure(now) {
		gate.Press(now, h.triggers.over())
	}
	waited := false
	ticket, cause := gate.Admit(now, level)
	if cause != "" && h.Queue != nil && !h.Shadow {
		waited = true
		ticket, cause = gate.Wait(r.Context(), clock.Now, level)
	}
	if cause != "" {
		gate.Refuse(level, cause)
		if !h.Shadow {
			return h.refuse(w, r, gate, cause)
		}
		setOutcome(r, shedRefused)
		h.log.record(level, cause, now)
		return next.ServeHTTP(w, r)
	}
	gate.Pass(level, waited)
	if waited {
		setOutcome(r, shedQueued)
	} else {
		setOutcome(r, shedAdmitted)
	}
	if !gate.Learns() {
		defer func() { ticket.Leave(clock.Now(), admission.NoSignal) }()
		return next.ServeHTTP(w, r)
	}
	return follow(ticket, w, r, next)
}

// setOutcome sets the placeholder of the request's outcome.
func setOutcome(r *http.Request, what string) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set(placeholderShed, what)
	}
}

// refuse answers a request that is not admitted.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, gate *admission.Gate, cause admission.Cause) error {
	setOutcome(r, shedRefused)
	httpx.SetReason(r, string(cause))
	if cause == admission.CauseGone {
		return caddyhttp.Error(httpx.StatusGone, r.Context().Err())
	}
	delay := time.Duration(h.RetryAfter)
	if delay == 0 {
		delay = gate.RetryAfter(clock.Now())
	}
	httpx.RetryAfter(w, delay)
	if httpx.IsGRPC(r) {
		httpx.SetGRPC(w.Header(), h.errs[cause].Error())
		w.WriteHeader(http.StatusOK)
		return nil
	}
	httpx.Close(w, r)
	return caddyhttp.Error(h.Status, h.errs[cause])
}

// refusals returns the errors of all causes. They are built once, because refusals are
// frequent.
func refusals() map[admission.Cause]error {
	errs := make(map[admission.Cause]error)
	for _, cause := range admission.Causes() {
		errs[cause] = fmt.Errorf("shed: %s", cause)
	}
	return errs
}

// logEvery is the least interval of shadow-mode log lines.
const logEvery = time.Second

// shadowLog logs refusals in shadow mode at intervals. Safe for concurrent use.
type shadowLog struct {
	logger *zap.Logger
	at     atomic.Int64 // time of the last line
	count  atomic.Int64 // refusals since then
}

// record counts a refusal in shadow mode, and logs at most once a second.
func (l *shadowLog) record(level admission.Level, cause admission.Cause, now time.Duration) {
	l.count.Add(1)
	last := l.at.Load()
	if int64(now)-last < int64(logEvery) || !l.at.CompareAndSwap(last, int64(now)) {
		return
	}
	l.logger.Info("requests would be shed", zap.Int64("requests", l.count.Swap(0)),
		zap.Stringer("level", level), zap.String("reason", string(cause)))
}
