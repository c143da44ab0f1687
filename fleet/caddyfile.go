// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// UnmarshalCaddyfile sets up the fleet from the option of the ballast global option. Syntax:
//
//	fleet {
//		id        <name>
//		zone      <name>
//		heartbeat <duration>
//		wait      <duration>
//		store     <store> [<args...>] {
//			# the store's own options
//		}
//	}
func (c *Config) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	position := *d
	c.Position = caddyfileutil.PositionOf(d)
	if err := caddyfileutil.Block(d, caddyfileutil.Options{
		"id":        caddyfileutil.Valid(caddyfileutil.String(&c.ID), c.checkID),
		"zone":      caddyfileutil.Valid(caddyfileutil.String(&c.Zone), c.checkZone),
		"heartbeat": heartbeats.Option(&c.Heartbeat),
		"wait":      waits.Option(&c.Wait),
		"store": func(d *caddyfile.Dispenser) (err error) {
			if next := *d; next.NextArg() && next.Val() == "redis" {
				if err := findRedis(); err != nil {
					return d.WrapErr(err)
				}
			}
			c.StoreRaw, err = caddyfileutil.Module(d, Namespace, InlineKey, "store")
			return err
		},
	}.Hint(map[string]string{
		"name": "write `id <name>`", "peers": inStore, "peer": inStore, "redis": "write `store redis <address>`", "caddy": "write `store caddy`",
		"address": inStore, "prefix": inStore, "poll": inStore, "interval": "write `heartbeat <duration>`", "timeout": "write `wait <duration>`",
	})); err != nil {
		return err
	}
	if c.StoreRaw == nil {
		return position.WrapErr(errNoStore)
	}
	return nil
}

const inStore = "the instances meet in the store; write `store caddy { ... }` or `store redis { ... }`, with its options on lines of their own"

// Interface guards
var _ caddyfile.Unmarshaler = (*Config)(nil)
