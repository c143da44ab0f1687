// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// maxDiscard is how many bytes are read of a body that nobody wants.
const maxDiscard = 64 << 10

// Discard reads the rest of a response that nobody wants, for at most so long, if it
// is short: then the connection can be used again. It leaves the body to be closed.
func Discard(res *http.Response, wait time.Duration) {
	if res.ContentLength > maxDiscard {
		return
	}
	body := res.Body // by the time that the timer fires the response may have another
	timer := time.AfterFunc(wait, func() {
		defer recovered("closing a response that takes too long")
		_ = body.Close()
	})
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, body, maxDiscard)
}

// recovered is deferred in goroutines of our own, where a panic would end the
// process. It logs the panic, as Caddy does with those of handlers.
func recovered(doing string) {
	if p := recover(); p != nil {
		LogPanic(doing, p)
	}
}

// LogPanic logs a panic that was recovered from, with the stack. It must be called
// by the deferred function that has recovered.
func LogPanic(doing string, p any) {
	caddy.Log().Named("ballast").Error("panic while "+doing, zap.Any("error", p), zap.ByteString("stack", debug.Stack()))
}
