// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
	"github.com/ballast-lb/caddy-ballast/internal/replay"
)

// tryTarget tries a target until it accepts or may not be tried again. The caller has begun
// the first try.
func (r *run) tryTarget(ctx context.Context, t *target) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if t == r.first {
			close(r.relayed)
		}
		if r.active--; r.active == 0 {
			r.end()
		}
	}()
	for n := 0; r.try(ctx, t, n); n++ {
		timer := time.NewTimer(r.h.wait.wait(n, rand.Float64()))
		select {
		case <-timer.C:
		case <-r.retriesEnded:
		case <-t.quit:
		}
		timer.Stop()
		if ctx = r.again(t); ctx == nil {
			return
		}
	}
}

// again begins another try. It returns nil if there must be none.
func (r *run) again(t *target) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !t.backend.Admitted() { // after a reload, the pool of this run does not change any more
		r.leave(t)
	}
	if t.closed || r.retriesDone {
		r.closeTarget(t)
		r.evaluate()
		return nil
	}
	return r.begin(t)
}

// begin records a try that is about to start, and returns its context. The caller must hold r.mu.
func (r *run) begin(t *target) context.Context {
	ctx, cancel := context.WithCancelCause(r.template.Context())
	t.cancel, t.inFlight = cancel, true
	r.inFlight++
	t.tries++
	return ctx
}

// try makes try n of a target, and reports whether another may follow.
func (r *run) try(ctx context.Context, t *target, n int) (again bool) {
	counts := r.h.stats.backend(t.backend)
	counts.tries.Add(1)
	if n > 0 {
		counts.retries.Add(1)
	}
	req := r.template.WithContext(ctx)
	if len(r.body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(r.body))
	}
	req.ContentLength = int64(len(r.body))
	w := new(reply)
	err := r.h.sender.Send(w, req, &proxyhook.Directed{
		Backend:  t.backend,
		Tried:    n,
		Answered: func(res *http.Response) *http.Response { return r.headerReceived(ctx, t, w, res) },
	})

	r.mu.Lock()
	defer r.mu.Unlock()
	cause := context.Cause(ctx)
	t.cancel(nil) // only to release the resources of the context
	t.cancel = nil
	if t.accepted {
		if t == r.first && w.client != nil {
			r.wrote, r.aborted = w.wrote, err != nil
		}
		return false
	}
	r.failed(t, w.status, err, cause)
	if n >= *r.h.Retries || r.retriesDone {
		r.closeTarget(t)
	}
	r.evaluate()
	return !t.closed
}

// headerReceived handles the header of a response. It returns the response if the client gets
// it, else nil. For the first target to accept, it blocks until that is known.
func (r *run) headerReceived(ctx context.Context, t *target, w *reply, res *http.Response) *http.Response {
	accepted := r.h.expect.Contain(res.StatusCode)
	w.status = res.StatusCode
	r.mu.Lock()
	t.status = res.StatusCode
	t.took = clock.Now() - r.began
	if !accepted {
		r.mu.Unlock()
		replay.Discard(res, discardTime)
		return nil
	}
	r.h.stats.backend(t.backend).successes.Add(1)
	r.accept(t)
	candidate := r.first == nil && r.h.Respond == respondFirst
	if candidate {
		r.first = t
	}
	r.evaluate()
	r.mu.Unlock()
	if candidate {
		res = readAhead(ctx, res)
		select {
		case client := <-r.pick:
			if client != nil {
				w.client = client
				return res
			}
		case <-ctx.Done():
		}
	}
	replay.Discard(res, discardTime)
	if candidate {
		_ = res.Body.Close() // readAhead has replaced the body that Discard closes
	}
	return nil
}

// failed records a try that was not accepted: by its status, by an error, or because it was
// given up. The caller must hold r.mu.
func (r *run) failed(t *target, status int, err, cause error) {
	t.inFlight = false
	r.inFlight--
	var dial reverseproxy.DialError
	switch {
	case status != 0:
		t.err = "status " + strconv.Itoa(status)
	case cause != nil: // the outcome is unknown
		t.took = clock.Now() - r.began
		t.sent, t.err, t.status = true, clip.Text(cause.Error()), 0
		return
	default:
		err = cmp.Or(err, errors.New("no answer"))
		t.took = clock.Now() - r.began
		t.sent = t.sent || !errors.As(err, &dial)
		if refused, ok := errors.AsType[caddyhttp.HandlerError](err); ok && refused.Err != nil {
			err = refused.Err // its own text has the place in the code
		}
		t.err, t.status = clip.Text(err.Error()), 0
	}
	r.h.stats.backend(t.backend).failures.Add(1)
}

// discardTime is how long Discard reads a response that the client does not get.
const discardTime = time.Second
