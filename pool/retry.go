// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
)

// Retry configures further attempts that the pool makes for a failed request. If the last one fails too, its answer is
// passed on unchanged. `lb_retries` of reverse_proxy is independent of it.
type Retry struct {
	// Tries is the maximum number of further attempts for each request, from 1 to 100. Required.
	Tries int `json:"tries,omitempty"`
	// On are the outcomes after which a request is sent again: connect, reset, timeout, status
	// codes such as 503 or 502-504, and gRPC statuses such as grpc:UNAVAILABLE, if they are in the
	// header of a response without messages. Default: connect, and reset for safe methods.
	On []string `json:"on,omitempty"`
	// Methods are the methods of requests that may be sent again although a backend may have
	// received them. After a failure to connect, and a gRPC status, any request is. Default: GET,
	// HEAD, OPTIONS, PUT and DELETE.
	Methods []string `json:"methods,omitempty"`
	// Header is a header field, such as Idempotency-Key. A request that has it may be sent again
	// whatever its method. Default: none.
	Header string `json:"header,omitempty"`
	// Timeout limits each attempt to its response header. Default: none.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Backoff is the longest wait before the first further attempt. The wait is a random part of it (full
	// jitter). It doubles with each attempt. Default: 25ms.
	Backoff caddy.Duration `json:"backoff,omitempty"`
	// MaxBackoff is the largest value to which Backoff doubles. Default: 250ms, or Backoff if that is
	// longer.
	MaxBackoff caddy.Duration `json:"max_backoff,omitempty"`
	// RetryAfter is the longest Retry-After of a response after which another attempt is made. A longer
	// one ends the attempts. Default: 1s.
	RetryAfter caddy.Duration `json:"retry_after,omitempty"`
	// Body is how many bytes of a request body are kept for further attempts, at most 1 GiB. A request is
	// not sent again once a backend has read more of its body. Default: 64KB.
	Body caddyfileutil.Size `json:"body,omitempty"`
}

// Bounds and defaults of the options of a retry.
var (
	retryTries     = caddyfileutil.Ints{Min: 1, Max: 100}
	retryBodies    = caddyfileutil.Sizes{Max: 1 << 30}
	retryMethods   = []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete}
	defaultBackoff = retry.RetryPolicy{Backoff: 25 * time.Millisecond, MaxBackoff: 250 * time.Millisecond, RetryAfter: time.Second, Body: retry.DefaultBody}
)

// policy returns the policy of the retries, or an error if a setting is invalid.
func (c *Retry) policy() (*retry.RetryPolicy, error) {
	if c == nil {
		return nil, nil
	}
	p := &retry.RetryPolicy{
		Tries: c.Tries, On: retry.DefaultConditions(), Methods: retryMethods, Header: textproto.CanonicalMIMEHeaderKey(c.Header),
		Timeout: time.Duration(c.Timeout), Backoff: cmp.Or(time.Duration(c.Backoff), defaultBackoff.Backoff),
		RetryAfter: cmp.Or(time.Duration(c.RetryAfter), defaultBackoff.RetryAfter), Body: cmp.Or(int64(c.Body), defaultBackoff.Body),
	}
	p.MaxBackoff = cmp.Or(time.Duration(c.MaxBackoff), max(defaultBackoff.MaxBackoff, p.Backoff))
	err := cmp.Or(retryTries.Check("retry's tries", c.Tries),
		caddyfileutil.CheckDuration("retry's timeout", c.Timeout), caddyfileutil.CheckDuration("retry's backoff", c.Backoff),
		caddyfileutil.CheckDuration("retry's max_backoff", c.MaxBackoff), caddyfileutil.CheckDuration("retry's retry_after", c.RetryAfter),
		retryBodies.Check("retry's body", caddyfileutil.Size(p.Body)), c.checkBackoff(p), checkMethods("retry", c.Methods), checkField(c.Header))
	if err != nil {
		return nil, err
	}
	if len(c.On) > 0 {
		if p.On, err = retry.ParseConditions(c.On); err != nil {
			return nil, err
		}
	}
	if len(c.Methods) > 0 {
		p.Methods = c.Methods
	}
	return p, nil
}

func (c *Retry) checkBackoff(p *retry.RetryPolicy) error {
	if p.MaxBackoff < p.Backoff {
		return fmt.Errorf("retry's backoff must not be longer than its maximum, got %v and %v", p.Backoff, p.MaxBackoff)
	}
	return nil
}

// checkMethods returns an error if methods of an option are invalid.
func checkMethods(option string, methods []string) error {
	for _, m := range methods {
		if !httpguts.ValidHeaderFieldName(m) || slices.ContainsFunc([]byte(m), func(b byte) bool { return 'a' <= b && b <= 'z' }) {
			return fmt.Errorf("%s's methods must be methods such as GET or POST, got %q", option, m)
		}
	}
	return nil
}

func checkField(name string) error {
	if name != "" && !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("retry's header must be the name of a field such as Idempotency-Key, got %q", name)
	}
	return nil
}

// unmarshal parses `retry <tries> { ... }`.
func (c *Retry) unmarshal(d *caddyfile.Dispenser) error {
	position := *d
	if !d.NextArg() {
		return d.Err("retry: the number of further attempts is missing; write retry <tries>")
	}
	var err error
	if c.Tries, err = retryTries.Parse("retry", d.Val()); err != nil {
		return d.WrapErr(err)
	}
	valid := func(opt caddyfileutil.Option) caddyfileutil.Option {
		return caddyfileutil.Valid(opt, func() error {
			_, err := c.policy()
			return err
		})
	}
	err = caddyfileutil.Block(d, caddyfileutil.Options{
		caddyfileutil.Repeat("on"): valid(c.parseOn),
		"methods":                  valid(c.parseMethods),
		"header":                   valid(caddyfileutil.String(&c.Header)),
		"timeout":                  valid(caddyfileutil.Duration(&c.Timeout)),
		"backoff": caddyfileutil.OneOrTwo("backoff takes one or two durations; write backoff <base> [<max>]", func(args []string) (err error) {
			if c.Backoff, err = caddyfileutil.ParseDuration("backoff", args[0]); err == nil && len(args) == 2 {
				c.MaxBackoff, err = caddyfileutil.ParseDuration("backoff's max", args[1])
			}
			if err == nil {
				_, err = c.policy()
			}
			return err
		}),
		"retry_after": valid(caddyfileutil.Duration(&c.RetryAfter)),
		"body":        retryBodies.Option(&c.Body),
	}.Hint(retryWords))
	if err == nil {
		if _, err = c.policy(); err != nil {
			return position.WrapErr(err)
		}
	}
	return err
}

// parseOn parses conditions. Those behind the word grpc are gRPC statuses.
func (c *Retry) parseOn(d *caddyfile.Dispenser) error {
	var words []string
	if err := caddyfileutil.Strings(&words)(d); err != nil {
		return err
	}
	if i := slices.Index(words, "grpc"); i >= 0 {
		if i == len(words)-1 {
			return d.Err("on grpc: a status is missing; write one such as UNAVAILABLE")
		}
		words = slices.Delete(words, i, i+1)
		for ; i < len(words); i++ {
			words[i] = retry.GRPCPrefix + words[i]
		}
	}
	c.On = append(c.On, words...)
	return nil
}

// parseMethods parses methods, of which `header` and a name allow any request with that field.
func (c *Retry) parseMethods(d *caddyfile.Dispenser) error {
	var words []string
	if err := caddyfileutil.Strings(&words)(d); err != nil {
		return err
	}
	if i := slices.Index(words, "header"); i >= 0 {
		if len(words) != i+2 || c.Header != "" {
			return d.WrapErr(errors.New("methods: write the name of one field behind header, at the end"))
		}
		c.Header, words = words[i+1], words[:i]
	}
	c.Methods = words
	return nil
}

// retryWords are the hints in the block of a retry.
var retryWords = map[string]string{
	"match": "write `methods <methods...>` or `header <field>`", "status": "write `on <codes...>`", "retry_on": "write `on ...`",
	"per_try_timeout": "write `timeout <duration>`", "attempts": "write `retry <tries> { ... }`", "budget": "write `retry_budget <ratio> [<min>]` in the pool",
	"interval": "write `backoff <base> [<max>]`", "tries": "write `retry <tries> { ... }`", "num_retries": "write `retry <tries> { ... }`",
	"initial_interval": "write `backoff <base> [<max>]`", "retry_back_off": "write `backoff <base> [<max>]`", "retriable_status_codes": "write `on <codes...>`",
	"non_idempotent": "write `methods <methods...>` or `header <field>`", "retry_non_idempotent_method": "write `methods <methods...>` or `header <field>`",
	"max_request_body_bytes": "write `body <size>`",
}
