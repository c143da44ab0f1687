// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

const (
	defaultRetries  = 3
	defaultBase     = time.Second
	defaultMax      = 64 * time.Second
	defaultJitter   = 100 * time.Millisecond
	defaultTimeout  = 30 * time.Second
	defaultMaxBody  = 1_000_000
	defaultRequests = 100
	defaultBytes    = 64_000_000
	defaultHeader   = "Idempotency-Key"

	respondFirst   = "first"
	respondSummary = "summary"
)

// Bounds of options.
var (
	retryCounts   = caddyfileutil.Ints{Max: 1000}
	requestCounts = caddyfileutil.Ints{Min: 1, Max: 1_000_000}
	bodySizes     = caddyfileutil.Sizes{Max: 1 << 30}
	bufferSizes   = caddyfileutil.Sizes{Max: 1 << 40}
	responds      = caddyfileutil.Words{respondFirst, respondSummary}
)

// defaults validates the options and sets the defaults.
func (h *Handler) defaults() (err error) {
	switch {
	case h.Pool == "" && len(h.Upstreams) == 0:
		return errors.New("fanout has no backends; name a pool, or upstreams")
	case h.Pool != "" && len(h.Upstreams) > 0:
		return errors.New("fanout has both a pool and upstreams; write one of them")
	case slices.Contains(h.Upstreams, ""):
		return errors.New("an upstream is empty; write host:port")
	}
	if h.Name != "" {
		if err := caddyfileutil.CheckName(h.Name); err != nil {
			return err
		}
	}
	if err := h.checkQuorum(); err != nil {
		return err
	}
	if len(h.Expect) == 0 {
		h.Expect = []string{"2xx"}
	}
	if h.expect, err = httpx.ParseStatusCodes("expect", h.Expect); err != nil {
		return err
	}
	if h.Retries == nil {
		h.Retries = new(int)
		*h.Retries = defaultRetries
	}
	if err := retryCounts.Check("retries", *h.Retries); err != nil {
		return err
	}
	if h.wait, err = h.Backoff.resolve(); err != nil {
		return err
	}
	h.Respond = cmp.Or(h.Respond, respondFirst)
	if err := responds.Check("respond", h.Respond); err != nil {
		return err
	}
	if h.IdempotencyHeader, err = checkHeader(cmp.Or(h.IdempotencyHeader, defaultHeader)); err != nil {
		return err
	}
	return h.bounds()
}

// checkQuorum parses the quorum.
func (h *Handler) checkQuorum() (err error) {
	h.quorum, err = parseQuorum(cmp.Or(h.Quorum, quorumAll))
	return err
}

// bounds validates the limits of the handler and sets their defaults.
func (h *Handler) bounds() error {
	if err := caddyfileutil.CheckDuration("timeout", h.Timeout); err != nil {
		return err
	}
	h.Timeout = cmp.Or(h.Timeout, caddy.Duration(defaultTimeout))
	h.MaxBody = cmp.Or(h.MaxBody, defaultMaxBody)
	if err := bodySizes.Check("max_body", h.MaxBody); err != nil {
		return err
	}
	h.MaxRequests = cmp.Or(h.MaxRequests, defaultRequests)
	if err := requestCounts.Check("max_requests", h.MaxRequests); err != nil {
		return err
	}
	h.MaxBytes = cmp.Or(h.MaxBytes, max(defaultBytes, h.MaxBody))
	if err := bufferSizes.Check("max_bytes", h.MaxBytes); err != nil {
		return err
	}
	return h.checkBytes()
}

// checkBytes returns an error if max_bytes is less than max_body. Zero is the default of both.
func (h *Handler) checkBytes() error {
	if body := cmp.Or(h.MaxBody, defaultMaxBody); h.MaxBytes != 0 && h.MaxBytes < body {
		return fmt.Errorf("max_bytes must be at least max_body, which is %d bytes, got %d; write more, or a smaller max_body", body, h.MaxBytes)
	}
	return nil
}

// resolve returns the backoff of the options, which may be nil.
func (b *Backoff) resolve() (backoff, error) {
	if b == nil {
		b = new(Backoff)
	}
	for name, d := range map[string]caddy.Duration{"base": b.Base, "max": b.Max} {
		if err := caddyfileutil.CheckDuration("backoff's "+name, d); err != nil {
			return backoff{}, err
		}
	}
	r := backoff{base: time.Duration(b.Base), max: time.Duration(b.Max), jitter: defaultJitter}
	r.base = cmp.Or(r.base, defaultBase)
	r.max = cmp.Or(r.max, max(defaultMax, r.base))
	if b.Jitter != nil {
		if err := caddyfileutil.CheckDuration("backoff's jitter", *b.Jitter); err != nil {
			return r, err
		}
		r.jitter = time.Duration(*b.Jitter)
	}
	if r.max < r.base {
		return r, fmt.Errorf("backoff's max must be at least its base, %v, got %v", r.base, r.max)
	}
	return r, nil
}

// notForKeys lists header fields that have another meaning or do not reach a backend.
var notForKeys = []string{
	"Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Via",
}

// checkHeader returns the canonical name of the header field of the key.
func checkHeader(name string) (string, error) {
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return "", fmt.Errorf("idempotency_header must be the name of a header field such as %s, got %q", defaultHeader, name)
	case slices.Contains(notForKeys, canonical), strings.HasPrefix(canonical, "Proxy-"), strings.HasPrefix(canonical, "X-Forwarded-"):
		return "", fmt.Errorf("idempotency_header must not be %s, which has another meaning; write a field of your own such as %s", canonical, defaultHeader)
	}
	return canonical, nil
}
