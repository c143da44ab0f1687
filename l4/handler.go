// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/names"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler sends a TCP connection to a backend of a pool of the ballast global option. The checks, limits,
// drains and counters of the pool apply; reverse_proxy may use the same pool. A connection counts as a
// request in flight until both sides have closed it.
//
// If a backend cannot be reached, the handler tries others; no bytes have been sent by then. Each side may
// close its half of the connection. A reload does not affect connections. They end with the process.
type Handler struct {
	// Pool is the name of a pool of the ballast global option. Required.
	Pool string `json:"pool"`
	// PolicyRaw is the selection policy: a policy of Ballast that does not read HTTP requests. Keys are
	// client_ip and texts with placeholders such as {l4.tls.server_name}; sticky needs client_ip;
	// least_time and peak_ewma compare the time to connect. Default: least_request.
	PolicyRaw json.RawMessage `json:"selection_policy,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`
	// Retries is how many more backends a connection tries if the first cannot be reached, from 0 to
	// 100. The pool's `retry_budget` applies. Default: 2.
	Retries *int `json:"retries,omitempty"`
	// ConnectTimeout limits each try: the connection, its TLS handshake, and the PROXY header. From 1ms
	// to 365d. Default: 3s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`
	// IdleTimeout closes a connection when no byte has passed in either direction for this time, from
	// 1ms to 365d. Without it, KeepAlive still detects backends that no longer exist. Default: none.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`
	// HalfClosedTimeout is the idle timeout after one side has closed its half of the connection, from
	// 1ms to 365d. A shorter idle_timeout still applies. Default: 5m.
	HalfClosedTimeout caddy.Duration `json:"half_closed_timeout,omitempty"`
	// MaxLifetime closes a connection this time after the backend was connected, from 1ms to 365d.
	// Default: none.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`
	// ProxyProtocol is the version of the PROXY header that tells the backend the client's address: v1 or
	// v2. Default: no header.
	ProxyProtocol string `json:"proxy_protocol,omitempty"`
	// KeepAlive is the interval of TCP keep-alive probes to the backend, from 1s to 365d; negative for
	// none. Default: 15s.
	KeepAlive caddy.Duration `json:"keepalive,omitempty"`
	// TLS connects to the backend with TLS. Without it, the bytes pass unchanged, including those of TLS
	// between client and backend. Default: none.
	TLS *healthcheck.TLS `json:"tls,omitempty"`

	// Position is the file and line of `balance` in the Caddyfile, for errors. The Caddyfile
	// adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`
	// PolicyPosition is the file and line of `lb_policy`, for errors. The Caddyfile adapter sets it.
	PolicyPosition caddyfileutil.Position `json:"policy_position,omitempty"`

	// Set by Provision, then read-only.
	pool    *pool.Pool
	await   func(context.Context)
	chooser *connections.Chooser
	dialer  dialer
	tls     *tls.Config // nil for none
	logger  *zap.Logger
}

const (
	policies      = "http.reverse_proxy.selection_policies"
	defaultPolicy = policies + ".least_request"

	defaultRetries        = 2
	defaultConnectTimeout = caddy.Duration(3 * time.Second)
	defaultHalfClosed     = caddy.Duration(5 * time.Minute)
	defaultKeepAlive      = caddy.Duration(15 * time.Second)
)

// The bounds of the options.
var (
	retries        = caddyfileutil.Ints{Min: 0, Max: 100}
	keepAlives     = caddyfileutil.Durations{Min: time.Second, Max: caddyfileutil.Year}
	proxyProtocols = caddyfileutil.Words{"v1", "v2"}
)

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.balance", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error { return h.Position.Wrap(h.provision(ctx)) }

func (h *Handler) provision(ctx caddy.Context) (err error) {
	h.logger = ctx.Logger()
	if err := h.check(); err != nil {
		return err
	}
	interval := time.Duration(h.KeepAlive) // net.Dialer.KeepAlive alone would set only the time to the first probe
	h.dialer = &net.Dialer{KeepAlive: interval, KeepAliveConfig: net.KeepAliveConfig{Enable: interval > 0, Idle: interval, Interval: interval}}
	app, err := ctx.App("ballast")
	if err != nil {
		return err
	}
	if h.pool, h.await, err = app.(connections.Provider).FindPool(h.Pool); err != nil {
		return err
	}
	if h.tls, err = h.TLS.ClientConfig(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return h.PolicyPosition.Wrap(h.loadPolicy(ctx))
}

// dialer connects to backends.
type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// check sets the defaults, and returns an error if an option is invalid.
func (h *Handler) check() error {
	if h.Pool == "" {
		return errors.New("balance needs a pool; write balance <pool>, and define the pool in the ballast global option")
	}
	if h.Retries == nil {
		h.Retries = new(defaultRetries)
	}
	if h.KeepAlive >= 0 {
		if err := keepAlives.Check("keepalive", h.KeepAlive); err != nil {
			return err
		}
	}
	if h.ProxyProtocol != "" {
		if err := proxyProtocols.Check("proxy_protocol", h.ProxyProtocol); err != nil {
			return err
		}
	}
	if err := cmp.Or(
		names.CheckPoolName(h.Pool),
		retries.Check("retries", *h.Retries),
		caddyfileutil.CheckDuration("connect_timeout", h.ConnectTimeout),
		caddyfileutil.CheckDuration("idle_timeout", h.IdleTimeout),
		caddyfileutil.CheckDuration("half_closed_timeout", h.HalfClosedTimeout),
		caddyfileutil.CheckDuration("max_lifetime", h.MaxLifetime),
	); err != nil {
		return err
	}
	h.ConnectTimeout = cmp.Or(h.ConnectTimeout, defaultConnectTimeout)
	h.HalfClosedTimeout = cmp.Or(h.HalfClosedTimeout, defaultHalfClosed)
	h.KeepAlive = cmp.Or(h.KeepAlive, defaultKeepAlive)
	return nil
}

// loadPolicy loads the policy, and makes it choose from the pool.
func (h *Handler) loadPolicy(ctx caddy.Context) error {
	var mod any
	var err error
	if h.PolicyRaw == nil {
		mod, err = ctx.LoadModuleByID(defaultPolicy, nil)
	} else {
		mod, err = ctx.LoadModule(h, "PolicyRaw")
	}
	if err != nil {
		return fmt.Errorf("loading selection policy: %w", err)
	}
	h.chooser, err = connections.NewChooser(mod.(caddy.Module), h.pool)
	return err
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (h *Handler) UnmarshalJSON(data []byte) error {
	type plain Handler
	return httpx.DecodeModule(data, (*plain)(h))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ layer4.NextHandler    = (*Handler)(nil)
)
