// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/names"
)

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	balance <pool> {
//		lb_policy <policy> [<args...>] {
//			# the policy's own options
//		}
//		retries             <n>
//		connect_timeout     <duration>
//		idle_timeout        <duration>
//		half_closed_timeout <duration>
//		max_lifetime        <duration>
//		proxy_protocol      v1|v2
//		keepalive           <duration>|off
//		tls off|{
//			off
//			server_name          <name>
//			insecure_skip_verify
//			ca                   <file>
//			client_certificate   <cert> <key>
//		}
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	position := *d
	position.Next()
	h.Position = caddyfileutil.PositionOf(&position)
	caddyfileutil.Head(d, &h.Pool)
	if h.Pool == "" {
		return d.Err("balance: the pool is missing; write balance <pool>, and define the pool in the ballast global option")
	}
	if err := names.CheckPoolName(h.Pool); err != nil {
		return d.WrapErr(err)
	}
	return caddyfileutil.Block(d, caddyfileutil.Options{
		"lb_policy": func(d *caddyfile.Dispenser) (err error) {
			h.PolicyPosition = caddyfileutil.PositionOf(d)
			h.PolicyRaw, err = caddyfileutil.Module(d, policies, "policy", "selection policy for connections", connections.Policies(policies, false)...)
			return err
		},
		"retries":             retries.Pointer(&h.Retries),
		"connect_timeout":     caddyfileutil.Duration(&h.ConnectTimeout),
		"idle_timeout":        caddyfileutil.Duration(&h.IdleTimeout),
		"half_closed_timeout": caddyfileutil.Duration(&h.HalfClosedTimeout),
		"max_lifetime":        caddyfileutil.Duration(&h.MaxLifetime),
		"proxy_protocol":      proxyProtocols.Option(&h.ProxyProtocol),
		"keepalive":           caddyfileutil.Off(keepAlives.Option(&h.KeepAlive), func() { h.KeepAlive = -1 }),
		"tls":                 healthcheck.TLSOption(&h.TLS),
	}.Hint(hints()))
}

// poolOptions are the options of pools that a reader may look for in balance.
var poolOptions = []string{
	"to", "backend", "from", "refresh", "health", "outliers", "slow_start", "panic", "guard", "on_down", "max_requests",
	"queue", "retry_budget", "subset", "spill", "locality", "group",
}

// hints returns what to write instead of options that balance does not have.
func hints() map[string]string {
	const inPool = "write it in the pool, in the ballast global option"
	hints := map[string]string{
		"upstream": inPool + ": `to <address...>`", "health_interval": inPool + ": `health tcp`", "health_port": inPool + ": `health tcp { port <n> }`",
		"max_fails": inPool + ": `outliers`", "fail_duration": inPool + ": `outliers`", "max_connections": inPool + ": `max_requests <n>`",
		"close_if_unhealthy": inPool + ": `on_down close`", "lb_try_duration": "write `retries <n>`, or `queue` in the pool",
		"retry": "write `retries <n>`", "dial_timeout": "write `connect_timeout <duration>`", "timeout": "write `idle_timeout <duration>`",
	}
	for _, option := range poolOptions {
		hints[option] = inPool
	}
	return hints
}
