// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package further

import (
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// FailedAttempt describes a failed attempt of a request.
type FailedAttempt struct {
	// Number is the number of the attempt, from 1.
	Number int
	// Backend is where the request was sent.
	Backend *backend.Backend
	// Trigger is the outcome that may trigger another attempt.
	Trigger retry.Trigger
	// Response is nil for an attempt that ended with Err.
	Response *http.Response
	// Err is nil for a response.
	Err error
	// Wait is the time to the next attempt.
	Wait time.Duration
	// Last is the reason why there is no next attempt; nil if there is one.
	Last error
}

// Log writes an entry at level DEBUG.
func (f FailedAttempt) Log(logger *zap.Logger) {
	if !logger.Core().Enabled(zap.DebugLevel) {
		return
	}
	fields := []zap.Field{
		zap.String("pool", f.Backend.Pool), zap.String("backend", f.Backend.ID),
		zap.Int("attempt", f.Number), zap.Stringer("trigger", f.Trigger),
	}
	if f.Response != nil {
		fields = append(fields, zap.Int("status", f.Response.StatusCode))
	}
	if f.Err != nil {
		fields = append(fields, zap.Error(clip.Error(f.Err)))
	}
	if f.Last != nil {
		fields = append(fields, zap.String("last_because", f.Last.Error()))
	} else {
		fields = append(fields, zap.Duration("next_after", f.Wait))
	}
	logger.Debug("attempt failed", fields...)
}
