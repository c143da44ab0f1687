// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	pool_register [<matcher>] <pool> {
//		token  <secret>
//		ttl    <duration>
//		allow  <cidr...>
//		open
//		max_weight <n>
//		verify [on|off]
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	position := *d
	position.Next()
	caddyfileutil.Head(d, &h.Pool)
	if err := checkPool(h.Pool); err != nil {
		return position.WrapErr(err)
	}
	h.Position = caddyfileutil.PositionOf(&position)
	err := caddyfileutil.Block(d, caddyfileutil.Options{
		"token": caddyfileutil.Valid(caddyfileutil.Replaced(&h.Token), func() error {
			if h.Token == "" {
				return errors.New("token must not be empty; write a secret, or open instead to let anyone register")
			}
			return nil
		}),
		"ttl":                         ttls.Option(&h.TTL),
		caddyfileutil.Repeat("allow"): caddyfileutil.Valid(caddyfileutil.Strings(&h.Allow), h.checkAllow),
		"open":                        caddyfileutil.Flag(&h.Open),
		"max_weight":                  maxWeights.Option(&h.MaxWeight),
		"verify":                      h.unmarshalVerify,
	})
	if err != nil {
		return err
	}
	if err := h.checkOpen(); err != nil {
		return position.WrapErr(err)
	}
	return nil
}

func (h *Handler) checkAllow() error {
	seen := make(map[string]bool)
	for _, text := range h.Allow {
		r, err := parseRange(text)
		if err != nil {
			return err
		}
		if seen[r.String()] {
			return fmt.Errorf("allow %s is given twice; write it once", text)
		}
		seen[r.String()] = true
	}
	return nil
}

func (h *Handler) unmarshalVerify(d *caddyfile.Dispenser) error {
	verify := true
	if d.NextArg() {
		switch d.Val() {
		case "on":
		case "off":
			verify = false
		default:
			return d.Errf("verify must be on or off, got %q", d.Val())
		}
		if d.NextArg() {
			return d.Errf("verify: unexpected argument %q; write verify on|off", d.Val())
		}
	}
	h.Verify = &verify
	return caddyfileutil.NoBlock(d, "verify")
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
