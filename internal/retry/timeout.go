// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"context"
	"net/http"
	"time"
)

// ErrTimeout is the error of an attempt that got no response header within its timeout.
var ErrTimeout error = attemptTimeout{}

type attemptTimeout struct{}

// Error implements error.
func (attemptTimeout) Error() string { return "no response header within the timeout of the attempt" }

// Timeout implements [net.Error], so that Caddy answers with 504.
func (attemptTimeout) Timeout() bool { return true }

// Temporary implements [net.Error].
func (attemptTimeout) Temporary() bool { return true }

// WithTimeout returns a context of an attempt that is cancelled after d, unless stop is called before.
// stop returns the outcome of the attempt, which is a timeout if d has passed.
func WithTimeout(parent context.Context, d time.Duration) (_ context.Context, stop func(*http.Response, error) (*http.Response, error)) {
	if d <= 0 {
		return parent, func(res *http.Response, err error) (*http.Response, error) { return res, err }
	}
	ctx, cancel := context.WithCancelCause(parent)
	timer := time.AfterFunc(d, func() { cancel(ErrTimeout) })
	return ctx, func(res *http.Response, err error) (*http.Response, error) {
		if timer.Stop() {
			if err != nil {
				cancel(nil)
			}
			return res, err // the context lives as long as the body, which ends with the request
		}
		if res != nil && res.Body != nil {
			_ = res.Body.Close()
		}
		if parent.Err() != nil {
			return nil, parent.Err()
		}
		return nil, ErrTimeout
	}
}
