// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// request is the body of a request.
type request struct {
	Address string `json:"address"`
	Weight  *int   `json:"weight,omitempty"`
}

// record is a registration as stored.
type record struct {
	Pool    string  `json:"pool"`
	ID      string  `json:"id"`
	Address string  `json:"address"`
	Weight  int     `json:"weight"`
	TTL     float64 `json:"ttl_seconds,omitempty"`
}

// reply is the body of every response.
type reply struct {
	Status string  `json:"status"` // success or error
	Data   *record `json:"data,omitempty"`
	Error  string  `json:"error,omitempty"`
}

const (
	maxBody = 64 << 10
	// patience is the time limit of a registration, with the lookup of the name and the
	// probe.
	patience = 10 * time.Second
)

// crossOrigin refuses requests that browsers send for pages of other sites. Read-only.
var crossOrigin = http.NewCrossOriginProtection()

// statusError is an error with its response status.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

// ServeHTTP answers every request; it does not call the next handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	stored, err := h.serve(ctx, r)
	status := http.StatusOK
	out := reply{Status: "success", Data: stored}
	if err != nil {
		status = statusOf(err)
		out = reply{Status: "error", Error: err.Error()}
	}
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", "DELETE, POST")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // the client may have left
	return nil
}

func statusOf(err error) int {
	var statusErr statusError
	switch {
	case errors.As(err, &statusErr):
		return statusErr.status
	case errors.Is(err, httpx.ErrUnknownField):
		return http.StatusForbidden
	case errors.Is(err, membership.ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, membership.ErrExists):
		return http.StatusConflict
	case errors.Is(err, membership.ErrNotKept):
		return http.StatusInsufficientStorage
	}
	return httpx.DecodeStatus(err)
}

// serve executes a request if it is allowed.
func (h *Handler) serve(ctx context.Context, r *http.Request) (*record, error) {
	if err := crossOrigin.Check(r); err != nil {
		return nil, statusError{http.StatusForbidden, fmt.Errorf("requests from pages of other sites are refused: %w", err)}
	}
	if !h.known(r) {
		return nil, statusError{http.StatusUnauthorized, errors.New("the bearer token is missing or wrong")}
	}
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		return nil, statusError{http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed; use POST or DELETE", r.Method)}
	}
	if r.Header.Get("Content-Type") == "" { // a page of another site can make a browser send this
		return nil, errors.New("the content type is missing; send application/json")
	}
	var body request
	if err := httpx.DecodeRequest(r, maxBody, &body); err != nil {
		return nil, err
	}
	if w := body.Weight; w != nil && *w > h.MaxWeight {
		return nil, fmt.Errorf("weight must be at most %d here, got %d", h.MaxWeight, *w)
	}
	pool := pool.Current(h.Pool)
	if pool == nil || pool.Manager() == nil {
		return nil, statusError{http.StatusServiceUnavailable, fmt.Errorf("there is no pool %q now", h.Pool)}
	}
	m := pool.Manager()
	address, err := m.Canonical(body.Address)
	if err != nil {
		return nil, err
	}
	addresses := []string{address}
	if h.Allow != nil {
		if addresses, err = h.resolve(ctx, address); err != nil {
			return nil, err
		}
	}
	if r.Method == http.MethodDelete {
		return h.leave(m, addresses)
	}
	return h.join(ctx, m, addresses, body.Weight)
}

// known reports whether a request has the token. Its duration does not depend on the token.
func (h *Handler) known(r *http.Request) bool {
	if h.token == nil {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], h.token[:]) == 1 && strings.EqualFold(scheme, "bearer")
}

// join adds a backend, or accepts its heartbeat.
func (h *Handler) join(ctx context.Context, m membership.Manager, addresses []string, weight *int) (*record, error) {
	address, verified := addresses[0], false
	registered := func(a string) bool { return m.Origin(a) == membership.Registered }
	if i := slices.IndexFunc(addresses, registered); i >= 0 {
		address = addresses[i] // a heartbeat keeps the address that was registered before
	} else if h.verifies() {
		switch err := m.Verify(ctx, membership.Addition{Address: address}); {
		case outlier.FailureOf(err) == outlier.Local:
			return nil, statusError{http.StatusServiceUnavailable, fmt.Errorf("backend %s cannot be verified now: %w", address, err)}
		case err != nil:
			return nil, statusError{http.StatusBadRequest, err}
		}
		verified = true
	}
	b, err := m.Add(membership.Addition{Address: address, Settings: backend.Settings{Weight: weight}, TTL: time.Duration(h.TTL), Registered: true, Verified: verified})
	if err != nil {
		return nil, err
	}
	stored := h.record(b)
	if m.Origin(b.Address) == membership.Registered {
		stored.TTL = time.Duration(h.TTL).Seconds()
	}
	return stored, nil
}

// leave removes a backend that was registered with pool_register.
func (h *Handler) leave(m membership.Manager, addresses []string) (*record, error) {
	var errs error
	for _, address := range addresses {
		b, err := m.Remove(address, membership.Removal{Registered: true})
		if err == nil {
			return h.record(b), nil
		}
		if errors.Is(err, membership.ErrNotKept) {
			return nil, err
		}
		errs = err
	}
	return nil, errs
}

func (h *Handler) record(b *backend.Backend) *record {
	return &record{Pool: h.Pool, ID: b.ID, Address: b.Address, Weight: *b.Weight}
}
