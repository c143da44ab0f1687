// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Handle implements [layer4.NextHandler]. It returns nil when the connection has ended, or an error if no
// backend could be connected.
func (h *Handler) Handle(cx *layer4.Connection, _ layer4.Handler) (err error) {
	// caddy-l4 does not recover panics: one would end the process.
	defer panics.Catch("sending a connection to a backend", &err, func(p any) error { return fmt.Errorf("panic: %v", p) })
	if network := cx.LocalAddr().Network(); strings.HasPrefix(network, "udp") || network == "unixgram" || network == "unixpacket" {
		return fmt.Errorf("balance serves TCP connections, not %s; use caddy-l4's `proxy` for those", network)
	}
	ctx, cancel := context.WithCancel(cx.Context)
	defer cancel()
	t, err := h.connect(ctx, cx)
	switch {
	case errors.Is(err, errLeft):
		return nil
	case err != nil:
		return err
	}
	t.run()
	return nil
}

// connect connects to a backend, with further tries if necessary, and returns the tunnel to it. The error is
// errLeft if the client leaves before that.
func (h *Handler) connect(ctx context.Context, cx *layer4.Connection) (*tunnel, error) {
	h.await(ctx)
	waiting, left := context.WithCancel(ctx)
	defer left()
	r := connections.Request(waiting, clientIP(cx.RemoteAddr()), cx.Replacer())
	var failed error // of the latest try
	for {
		chosen, reason := h.choose(r, cx, left)
		switch {
		case reason == pool.ReasonGone:
			return nil, errLeft
		case reason != "" && failed != nil:
			return nil, fmt.Errorf("%w; no further try: pool %s: %s", failed, h.Pool, reason)
		case reason != "":
			return nil, fmt.Errorf("no backend available: pool %s: %s", h.Pool, reason)
		}
		t, err := h.try(ctx, cx, chosen)
		if err == nil {
			return t, nil
		}
		failed = fmt.Errorf("backend %s of pool %s: %w", chosen.Backend.ID, h.Pool, err)
		if chosen.Try > *h.Retries {
			return nil, failed
		}
		h.logger.Debug("connecting to a backend failed; trying again", zap.String("pool", h.Pool), zap.String("backend", chosen.Backend.ID),
			zap.Int("try", chosen.Try), zap.Error(err))
	}
}

// choose chooses the next backend to try. If the client leaves while the connection waits in the queue,
// choose calls left, which must end the context of r.
func (h *Handler) choose(r *http.Request, cx *layer4.Connection, left func()) (connections.Chosen, pool.Reason) {
	if h.pool.Options().Queue.Size > 0 {
		defer watchLeaving(cx, left)()
	}
	return h.chooser.Choose(r)
}

// try makes one attempt to connect to the chosen backend, and counts it. The attempt ends when the returned
// tunnel ends, or at once with an error.
func (h *Handler) try(ctx context.Context, cx *layer4.Connection, chosen connections.Chosen) (_ *tunnel, err error) {
	b := chosen.Backend
	t := &tunnel{handler: h, backend: b, client: cx, try: chosen.Try}
	t.attempt = backend.Attempt{Start: clock.Now(), Load: b.InFlight(), Affinity: chosen.Affinity, Slot: true}
	if h.pool.ClosesOnDown() {
		t.stream = b.NewStream(t.closeOnDown)
	}
	b.Begin(&t.attempt)
	b.Traffic.Begin()
	err = errPanicked // until there is a result
	defer func() {
		if err != nil {
			t.end(err)
		}
	}()
	t.server, err = h.dial(ctx, cx, b)
	now := clock.Now()
	if err != nil {
		return nil, err
	}
	t.attempt.Status, t.attempt.FirstByte = http.StatusSwitchingProtocols, now-t.attempt.Start
	b.Answer(&t.attempt)
	b.Traffic.Connect(t.attempt.FirstByte)
	if t.stream != nil && !b.OpenStream(t.stream) {
		t.stream.Close()
	}
	return t, nil
}

// errPanicked is the error with which a try is counted if it panics.
var errPanicked = errors.New("connecting to the backend panicked")

// clientIP returns the IP address of a client. It is empty for Unix sockets; policies that need it then have
// no key.
func clientIP(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return host
}
