// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"fmt"
	weakrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// DefaultBody is the default number of bytes of a request body that are kept.
const DefaultBody = 64_000

// Trigger is why a request is sent again, or to a second backend.
type Trigger int

// The causes.
const (
	NoTrigger Trigger = iota
	Connect           // there was no connection, so nothing was sent
	Reset             // the connection broke before the response header
	Timeout           // a timeout was exceeded before the response header
	Status            // the status of the response
	GRPC              // the gRPC status in the header of the response
	Hedge             // the response header was late
	// Triggers is the number of causes.
	Triggers
)

var triggerNames = [Triggers]string{"none", "connect", "reset", "timeout", "status", "grpc", "hedge"}

// String returns the name in options and metrics.
func (c Trigger) String() string { return triggerNames[c] }

// RetryPolicy is when and how a request is sent again. Read-only.
type RetryPolicy struct {
	// Tries is the most further attempts for each request.
	Tries int
	// On are the conditions.
	On Conditions
	// Methods are the methods of requests that may be sent again after a backend may have received
	// them.
	Methods []string
	// Header is a field, in canonical form. A request that has it may be sent again, too; "" for none.
	Header string
	// Timeout limits each attempt to its response header; 0 for no limit.
	Timeout time.Duration
	// Backoff is the longest wait before the first further attempt. It doubles up to MaxBackoff.
	Backoff, MaxBackoff time.Duration
	// RetryAfter is the longest Retry-After that is kept.
	RetryAfter time.Duration
	// Body is the number of bytes of a request body that are kept to be sent again.
	Body int64
}

// Conditions are the outcomes of an attempt after which it is repeated.
type Conditions struct {
	// Failures reports which of the triggers Connect, Reset and Timeout are included.
	Failures [Triggers]bool
	// SafeReset reports that Reset is included only for safe methods (RFC 9110, 9.2.1).
	SafeReset bool
	// Status are the status codes of responses.
	Status httpx.StatusCodes
	// GRPC are the gRPC statuses.
	GRPC map[codes.Code]bool
}

// DefaultConditions are those without an option.
func DefaultConditions() (c Conditions) {
	c.Failures[Connect], c.SafeReset = true, true
	return c
}

// GRPCPrefix marks a gRPC status in the words of [ParseConditions].
const GRPCPrefix = "grpc:"

// ParseConditions parses words: connect, reset, timeout, status codes, and gRPC statuses by name or
// number, such as grpc:UNAVAILABLE.
func ParseConditions(words []string) (c Conditions, err error) {
	for _, word := range words {
		if status, ok := strings.CutPrefix(word, GRPCPrefix); ok {
			code, ok := parseGRPC(status)
			if !ok {
				return c, fmt.Errorf("on grpc must be statuses such as UNAVAILABLE or 14, got %q", status)
			}
			if c.GRPC == nil {
				c.GRPC = make(map[codes.Code]bool)
			}
			c.GRPC[code] = true
			continue
		}
		switch word {
		case Connect.String():
			c.Failures[Connect] = true
		case Reset.String():
			c.Failures[Reset] = true
		case Timeout.String():
			c.Failures[Timeout] = true
		default:
			statuses, err := httpx.ParseStatusCodes("on", []string{word})
			if err != nil {
				return c, fmt.Errorf("on must be connect, reset, timeout, status codes such as 502-504, or grpc and its statuses, got %q", word)
			}
			if statuses[0].From < http.StatusOK {
				return c, fmt.Errorf("on must be status codes from 200, since interim responses are passed on and never end an attempt, got %q", word)
			}
			c.Status = append(c.Status, statuses...)
		}
	}
	return c, nil
}

// parseGRPC parses the name or the number of a gRPC status that is an error.
func parseGRPC(status string) (code codes.Code, ok bool) {
	if _, err := strconv.ParseUint(status, 10, 8); err != nil {
		status = strconv.Quote(strings.ToUpper(status))
	}
	err := code.UnmarshalJSON([]byte(status))
	return code, err == nil && code != codes.OK
}

// AllowsFailure reports whether a request is sent again after an attempt without a response.
func (p *RetryPolicy) AllowsFailure(c Trigger, req *http.Request) bool {
	switch {
	case c == Connect:
		return p.On.Failures[c] // nothing was sent
	case c == Reset && p.On.SafeReset:
		return httpx.Safe(req.Method)
	}
	return p.On.Failures[c] && p.Repeatable(req)
}

// AllowsStatus returns the trigger for which a request is sent again after a response; NoTrigger if it
// is not. grpc is the gRPC status in the header, or "".
func (p *RetryPolicy) AllowsStatus(code int, grpc string, req *http.Request) Trigger {
	if len(p.On.GRPC) > 0 { // else an error would be made of each answer that is none of gRPC
		if n, err := strconv.ParseUint(grpc, 10, 32); err == nil && p.On.GRPC[codes.Code(n)] {
			return GRPC // the operator knows that calls with this status were not executed
		}
	}
	if p.On.Status.Contain(code) && p.Repeatable(req) {
		return Status
	}
	return NoTrigger
}

// Repeatable reports whether a request may be sent again although a backend may have received it.
func (p *RetryPolicy) Repeatable(req *http.Request) bool {
	return slices.Contains(p.Methods, req.Method) || p.Header != "" && len(req.Header[p.Header]) > 0
}

// FallbackFrom returns the policy for a request that has failed in a group with a fallback: it is
// sent again at once, to another group, after any failure and after each status that means an error.
// What may be sent again is as in p, whose other settings do not matter.
func FallbackFrom(p RetryPolicy) *RetryPolicy {
	p.Tries, p.Backoff, p.MaxBackoff = 1, 0, 0
	p.On = Conditions{
		Status: httpx.StatusCodes{{From: http.StatusInternalServerError, To: 599}},
		GRPC:   map[codes.Code]bool{codes.Unavailable: true, codes.DeadlineExceeded: true},
	}
	for _, t := range []Trigger{Connect, Reset, Timeout} {
		p.On.Failures[t] = true
	}
	return &p
}

// Wait returns the time before the n-th further attempt, from 1: exponential backoff with full
// jitter ("Exponential Backoff And Jitter", AWS), or the response's Retry-After, 0 for none. ok is
// false if that is longer than the policy allows.
func (p *RetryPolicy) Wait(n int, retryAfter time.Duration) (d time.Duration, ok bool) {
	if retryAfter > 0 {
		return retryAfter, retryAfter <= p.RetryAfter
	}
	most := p.MaxBackoff
	if shift := n - 1; shift < 32 && p.Backoff<<shift < most {
		most = p.Backoff << shift
	}
	if most <= 0 {
		return 0, true
	}
	return weakrand.N(most + 1), true
}
