// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/names"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler lets backends add themselves to a pool and remove themselves, with POST and DELETE
// of {"address": "10.0.0.7:8080", "weight": 2}. A registered backend gets requests at once.
// The registration outlives reloads and, with persist, restarts.
//
// A repeated registration is a heartbeat. Registered backends receive traffic, so
// registration must be restricted by a token or by allowed addresses, or be opened
// explicitly. Requests must be application/json and must not come from pages of other sites.
type Handler struct {
	// Pool is the name of the pool. Required.
	Pool string `json:"pool"`
	// Token must be in each request, as `Authorization: Bearer <token>`. It may be a global
	// placeholder such as {env.TOKEN}. Default: no token, which requires Allow or Open.
	Token string `json:"token,omitempty"`
	// TTL is the lifetime of a registration without heartbeats, from 1s to a year. Default:
	// unlimited.
	TTL caddy.Duration `json:"ttl,omitempty"`
	// Allow lists the addresses and ranges that backends may have. A host name may only
	// resolve to allowed addresses, and the backend is registered with one of these addresses
	// instead of its name, so that a later change of the name has no effect. Default: any.
	Allow []string `json:"allow,omitempty"`
	// Open confirms that neither Token nor Allow is set: every client of the handler can
	// direct requests to any address. Default: false.
	Open bool `json:"open,omitempty"`
	// MaxWeight is the highest weight that a backend may set, from 1 to 65535. Default:
	// 65535.
	MaxWeight int `json:"max_weight,omitempty"`
	// Verify probes a backend before it is accepted: with the health checks of the pool or,
	// without any, with a connection. Default: true.
	Verify *bool `json:"verify,omitempty"`

	// Position is the file and line of `pool_register` in the Caddyfile, for errors.
	// The Caddyfile adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`

	// Set by Provision, then read-only.
	token  *[sha256.Size]byte // SHA-256 of the token; nil for no token
	ranges []netip.Prefix
}

// ttls bounds the ttl option.
var ttls = caddyfileutil.Durations{Min: time.Second, Max: caddyfileutil.Year}

// maxWeights bounds max_weight, as the weight of every backend.
var maxWeights = caddyfileutil.Ints{Min: 1, Max: backend.Weights.Max}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.pool_register", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error { return h.Position.Wrap(h.provision(ctx)) }

func (h *Handler) provision(ctx caddy.Context) error {
	if err := checkPool(h.Pool); err != nil {
		return err
	}
	if err := ttls.Check("ttl", h.TTL); err != nil {
		return err
	}
	if err := h.checkOpen(); err != nil {
		return err
	}
	if h.MaxWeight == 0 {
		h.MaxWeight = maxWeights.Max
	}
	if err := maxWeights.Check("max_weight", h.MaxWeight); err != nil {
		return err
	}
	if h.Token != "" {
		token, err := caddy.NewReplacer().ReplaceOrErr(h.Token, true, true)
		if err != nil {
			return fmt.Errorf("token: %w", err)
		}
		sum := sha256.Sum256([]byte(token))
		h.token = &sum
	}
	for _, text := range h.Allow {
		r, err := parseRange(text)
		if err != nil {
			return err
		}
		h.ranges = append(h.ranges, r)
	}
	app, err := ctx.App("ballast")
	if err != nil {
		return err
	}
	if e, ok := app.(membership.PoolChecker); ok {
		return e.CheckPool(ctx, h.Pool)
	}
	return nil
}

// checkPool validates the name of a pool.
func checkPool(name string) error {
	if name == "" {
		return errors.New("pool_register needs the name of a pool; write pool_register <pool>")
	}
	return names.CheckPoolName(name)
}

// checkOpen returns an error unless registration is restricted or open is set.
func (h *Handler) checkOpen() error {
	guarded := h.Token != "" || len(h.Allow) > 0
	switch {
	case guarded && h.Open:
		return fmt.Errorf("pool_register %s has both open and token or allow; remove one of them", h.Pool)
	case !guarded && !h.Open:
		return fmt.Errorf("pool_register %s accepts any address from anyone; write token <secret>, allow <cidr...>, or open if that is intended", h.Pool)
	}
	return nil
}

// parseRange parses a range of addresses or a single address.
func parseRange(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p != p.Masked() {
			return p, fmt.Errorf("allow must have ranges such as 10.0.0.0/8, got %q, which has host bits set; write %s", text, p.Masked())
		}
		return p, nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("allow must have ranges such as 10.0.0.0/8, or addresses, got %q", text)
	}
	return netip.PrefixFrom(ip, ip.BitLen()), nil
}

// verifies reports whether backends are probed before they are accepted.
func (h *Handler) verifies() bool { return h.Verify == nil || *h.Verify }

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
