// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package attemptlog describes the attempts of a request, for {http.ballast.attempts}.
package attemptlog

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// Entry is the outcome of an attempt.
type Entry struct {
	// Backend is the backend that the request was sent to.
	Backend *backend.Backend
	// Status is the status of the response; 0 without one.
	Status int
	// Failure is why there is none.
	Failure outlier.Failure
	// Cancelled reports that there is none since the client has left, or another attempt was
	// answered first.
	Cancelled bool
	// Took is the time to the response header, or the end without one.
	Took time.Duration
	// Lost reports that the answer of another attempt was passed on.
	Lost bool
}

// Of returns the entry of an attempt that got res or err.
func Of(b *backend.Backend, took time.Duration, res *http.Response, err error) Entry {
	if err == nil {
		return Entry{Backend: b, Took: took, Status: res.StatusCode}
	}
	cancelled := errors.Is(err, context.Canceled) || errors.Is(err, hedge.ErrLost)
	return Entry{Backend: b, Took: took, Failure: outlier.FailureOf(err), Cancelled: cancelled}
}

// Describe returns the value of the placeholder, such as a:503:12ms,b:200:8ms*. The asterisk marks
// the attempt whose answer was passed on: the last one with an answer that has not lost.
func Describe(all []Entry) string {
	passedOn := len(all) - 1
	for passedOn >= 0 && (all[passedOn].Status == 0 || all[passedOn].Lost) {
		passedOn--
	}
	var text strings.Builder
	for i, o := range all {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(o.Backend.ID)
		text.WriteByte(':')
		switch {
		case o.Status > 0:
			text.WriteString(strconv.Itoa(o.Status))
		case o.Cancelled:
			text.WriteString("cancelled")
		default:
			text.WriteString(o.Failure.String())
		}
		text.WriteByte(':')
		text.WriteString(rounded(o.Took).String())
		if i == passedOn {
			text.WriteByte('*')
		}
	}
	return text.String()
}

// rounded rounds to microseconds below a millisecond, else to milliseconds.
func rounded(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
