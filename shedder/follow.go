// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// answer measures the latency of a response, from the end of the upload to the response header. The
// speed of the client determines the duration of the upload and of the rest of the response, so
// neither counts. It belongs to the goroutine of the request, except upload.
type answer struct {
	*caddyhttp.ResponseWriterWrapper
	ticket admission.Ticket
	left   bool
	upload *upload // nil for none
}

// follow calls the next handler and ends the ticket with the outcome.
func follow(ticket admission.Ticket, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	a := &answer{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, ticket: ticket}
	// Caddy's server wraps every body, also an empty one.
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		a.upload = &upload{ReadCloser: r.Body}
		r.Body = a.upload
	}
	defer a.leave(admission.NoSignal) // if the handler panics
	err := next.ServeHTTP(a, r)
	a.leave(outcomeOf(err))
	return err
}

// leave ends the ticket, once.
func (a *answer) leave(o admission.Outcome) {
	if a.left {
		return
	}
	a.left = true
	if a.upload != nil {
		switch end := a.upload.end.Load(); {
		case end != 0:
			a.ticket.Since(time.Duration(end))
		case o == admission.Answered: // the answer came before the end of the upload: there is no latency
			o = admission.NoSignal
		}
	}
	a.ticket.Leave(clock.Now(), o)
}

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		a.leave(outcomeOfStatus(status))
	}
	a.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) {
	a.leave(admission.Answered)
	return a.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements [io.ReaderFrom].
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.leave(admission.Answered)
	return a.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements the interface that [http.ResponseController] looks for.
func (a *answer) FlushError() error {
	a.leave(admission.Answered)
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Hijack implements [http.Hijacker].
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.leave(admission.Answered)
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

// outcomeOfStatus returns the outcome for a status. An error is no latency sample: it may come at
// once or after a timeout.
func outcomeOfStatus(status int) admission.Outcome {
	switch {
	case status == http.StatusServiceUnavailable:
		return admission.Rejected
	case status == http.StatusGatewayTimeout, status == httpx.StatusGone:
		return admission.TimedOut
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
		return admission.NoSignal
	}
	return admission.Answered
}

// outcomeOf is outcomeOfStatus for a handler that has written no header.
func outcomeOf(err error) admission.Outcome {
	if err == nil {
		return admission.Answered
	}
	if herr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && herr.StatusCode != 0 {
		return outcomeOfStatus(herr.StatusCode)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return admission.TimedOut
	}
	return admission.NoSignal
}

// upload is the body of a request. It records when the body has been read.
type upload struct {
	io.ReadCloser
	end atomic.Int64 // time of the process clock; 0 for not yet
}

// Read records the time of the end or of an error.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil {
		u.end.CompareAndSwap(0, int64(clock.Now()))
	}
	return n, err
}

// Interface guards
var (
	_ http.ResponseWriter = (*answer)(nil)
	_ http.Hijacker       = (*answer)(nil)
	_ io.ReaderFrom       = (*answer)(nil)
)
