// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package panics logs recovered panics.
package panics

import (
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// Log logs a panic with its stack, as Caddy does for handlers. doing completes "panic while ...".
// It must be called by the deferred function that has recovered.
func Log(doing string, p any) {
	caddy.Log().Named("ballast").Error("panic while "+doing, zap.Any("error", p), zap.ByteString("stack", debug.Stack()))
}

// Catch recovers from a panic, if there is one, logs it, and makes *err what failed makes of the panic.
// It must be deferred.
func Catch(doing string, err *error, failed func(p any) error) {
	if p := recover(); p != nil {
		Log(doing, p)
		*err = failed(p)
	}
}

// Recover recovers from a panic, if there is one, and logs it. It must be deferred.
func Recover(doing string) {
	if p := recover(); p != nil {
		Log(doing, p)
	}
}
