// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// maxAnswer is the most bytes of an answer that are read. The connection of a longer answer is closed.
const maxAnswer = 1 << 20

// errLate is the cause of the end of copies that exceed the timeout.
var errLate = errors.New("the mirror did not answer in time")

// send sends a copy, and discards the answer.
func (c *Copy) send(out *http.Request, next http.RoundTripper) {
	m := c.mirror
	defer m.release()
	result := Failed
	defer func() { m.counters.result(result) }()
	defer panics.Recover("mirroring a request")
	ctx, cancel := context.WithTimeoutCause(out.Context(), m.policy.Timeout, errLate)
	defer cancel()
	res, err := next.RoundTrip(out.WithContext(ctx))
	if err != nil {
		result = resultOf(ctx)
		return
	}
	result = Answered
	c.mu.Lock()
	c.compared.copy = outcome{res.StatusCode, clock.Now()}
	c.compared.count(m.counters)
	c.mu.Unlock()
	m.counters.answer(res.StatusCode)
	discard(ctx, res)
}

// resultOf returns the result of a copy that got no answer.
func resultOf(ctx context.Context) Result {
	switch {
	case ctx.Err() == nil:
		return Failed
	case context.Cause(ctx) == errLate:
		return TimedOut
	}
	return Cancelled
}

// discard reads an answer to its end, so that the connection can be used again, and closes it. It closes the answer early if
// ctx ends.
func discard(ctx context.Context, res *http.Response) {
	if res.Body == nil {
		return
	}
	body := res.Body
	defer body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols { // unsolicited; the body is the connection
		return
	}
	stop := context.AfterFunc(ctx, func() {
		defer panics.Recover("closing an answer of a mirror")
		_ = body.Close()
	})
	defer stop()
	_, _ = io.CopyN(io.Discard, body, maxAnswer)
}
